"""The task ``patches``: the class of whole patches, from tables, folders or outlines with classes."""
