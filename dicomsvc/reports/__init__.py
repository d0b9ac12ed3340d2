"""The place of the pathology reports: free text to coded fields. Nothing is here yet."""
