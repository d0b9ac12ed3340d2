"""The task ``virtual-if``: what a fluorescent stain of the same section would show, learned from aligned pictures."""
