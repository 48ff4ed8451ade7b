"""What is done with each control packet that is not handled in the data plane: one file, one packet."""
