"""Pathology reports written for tests; no patient ever had one of them."""

BREAST = """FINAL DIAGNOSIS
Breast, left, lumpectomy: Invasive ductal carcinoma, Nottingham grade 2, 2.3 cm in greatest dimension.
Lymphovascular invasion: Not identified.
Estrogen receptor: POSITIVE (90%). Progesterone receptor: NEGATIVE.
pT2 pN0.
"""
BREAST_AMENDED = BREAST.replace("Progesterone receptor: NEGATIVE", "Progesterone receptor: POSITIVE (20%)")
KIDNEY = """FINAL DIAGNOSIS
Kidney, right, radical nephrectomy: Clear cell renal cell carcinoma, WHO/ISUP grade 3.
Tumor size: 7.5 cm. Perinephric fat invasion: present. Lymphovascular invasion: present. pT3a pNX.
"""
KIDNEY_ZH = "左肾透明细胞型肾细胞癌，WHO/ISUP 2级，大小4.5×3.2×3.0cm，侵及肾周脂肪，脉管内见癌栓，切缘阴性，淋巴结0/5。"
