"""Which models there are: their folders read and checked, their versions, which are enabled."""
