"""How finely nuclei are marked, and what that costs: pixels, ellipses or boxes around them.

After Shi et al., *Effects of annotation granularity in deep learning models for histopathological images* (BIBM 2019):
coarser marks are derived from pixel masks (`marks`), patches get labels from them (`patches`), classifiers and
segmenters are trained on each kind of mark (`trials`) and measured against the pixels (`measures`). One file is kept
for each trial (`study`), so that what is done is not done again; `report` tells what came out.
"""
