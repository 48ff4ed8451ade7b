"""What takes minutes is not looked for here: ``make packaging`` names it."""

collect_ignore = ["installed"]
