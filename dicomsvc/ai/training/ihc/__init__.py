"""The training task ``ihc``: nuclei, which of them are positive, and the dyes, from rendered immunohistochemistry."""
