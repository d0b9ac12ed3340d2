"""The task ``nuclick``: the mask of the one nucleus that was clicked, given the picture around the click."""
