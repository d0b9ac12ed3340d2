"""Click a thing, get its outline: pictures around clicks through a model of the kind ``clicks``.

In come points on a slide or a picture (`ground`); the model sees the picture around each, with guiding maps (`guides`),
and answers a mask; of it the piece at the click becomes a thing with outline and measurements (`things`), or the click
is told why there is none (`answering`). Out go `dicomsvc.ai.findings.Instances`: as documents (`documents`), as objects
in the store (`storing`), over HTTP (`routes`), or in place of another model's outlines (`redrawing`).
"""
