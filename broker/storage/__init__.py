"""What is kept across a restart: the operations, the protocol of a store, and the committer in front of it."""
