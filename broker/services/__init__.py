"""What runs beside the connections: $SYS, metrics, HTTP, where the log goes."""
