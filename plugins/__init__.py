"""Built-in plugins: one file, one plugin; each imports ``noctule.api`` and nothing else of ours."""
