"""Which models there are: their folders read and checked, their versions, which are enabled.

In come folders of ``triton_models/`` and those that an administrator adds (`reading`); out go manifests for an analysis
and a staged folder for the model server (`repository`), and documents for people (`card`). Nothing of a folder is run.
"""
