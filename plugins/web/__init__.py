"""What the plugins that work with HTTP and JSON share; nothing in here is a plugin."""
