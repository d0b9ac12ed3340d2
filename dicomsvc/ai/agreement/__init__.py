"""How far annotators agree, and what most of them say.

In go ratings of the same units, or things that several people drew (`things`); out come percent agreement, Cohen's and
Fleiss' kappa with intervals (`kappa`), a comparison (`comparing`) and what most say (`consensus`). Files are read by
`sources`, annotations in the store by `stored`; nothing here needs PyTorch.
"""
