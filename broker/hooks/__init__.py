"""Hook specifications, what they answer, how plugins are loaded, and the table of hooks."""
