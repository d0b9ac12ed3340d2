"""The task ``segmentation``: the class of each pixel, from a folder of labelled pictures, by any segmenter."""
