"""The command `shop`. May import everything of the shop; each command is loaded when it is called."""
