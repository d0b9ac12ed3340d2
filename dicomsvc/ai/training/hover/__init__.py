"""The task ``hover``: HoVer-Net from instance labels, with the type of each thing where the data have it."""
