"""W-Net for nuclei in H&E (Mao et al., BIBM 2021): a mask stage, then a stage that answers a peak at each middle."""
