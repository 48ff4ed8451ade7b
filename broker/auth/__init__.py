"""Methods of enhanced authentication that are built in, one file each."""
