"""Networks, without anything of what they are trained for."""
