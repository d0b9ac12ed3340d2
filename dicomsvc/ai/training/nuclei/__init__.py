"""The task ``nuclei``: mask, distance to the edge and centre of nuclei in H&E, from rendered and labelled pictures."""
