"""The web contract of DeepLIIF (Ghahremani et al., CVPR 2022), so that its clients work against this service.

In come pictures as forms, with thresholds in the query; out go pictures as base64 and the score. What stands behind it
are our own model and post-processing (`dicomsvc.ai.ihc`).
"""
