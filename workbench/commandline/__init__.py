"""What a command line is made of: how commands are called, parsed and completed, and where their files are."""
