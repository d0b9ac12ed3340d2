"""Click a nucleus, get its mask: crops around clicks through a model, and its answers as outlines in slide pixels."""
