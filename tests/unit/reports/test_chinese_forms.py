"""Chinese forms, one by one: what a short report says of one field; all are made up."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

FORMS = """
（左乳）浸润性癌，Ⅲ级。 | grade | 3
（左乳）浸润性导管癌II级，伴坏死。 | grade | 2
左乳浸润性癌（组织学3级）。 | grade | 3
右乳腺浸润性导管癌（G2）。 | grade | 2
右乳：浸润性癌，WHO 2级。 | grade | 2
乳腺浸润性癌，组织学分级：Ⅱ级（3+2+2=7分）。 | grade | 2
左乳浸润性癌，SBR分级2级。 | grade | 2
（胃窦）腺癌，中度分化。 | grade | 2
（直肠）腺癌，分化差。 | grade | 3
（直肠）腺癌，分化良好。 | grade | 1
（直肠）腺癌，分化程度：低分化。 | grade | 3
（直肠）腺癌，中—低分化。 | grade | 3
（食管）鳞状细胞癌Ⅱ级。 | grade | 2
（直肠）腺癌，中等分化。 | grade | 2
（直肠）管状绒毛状腺瘤伴高级别上皮内瘤变。 | grade | -
（左乳）导管原位癌，中级别。 | grade | -
左乳浸润性导管癌，核分级3级。 | grade | -
（左肾）透明细胞癌，WHO/ISUP核分级：2级。 | who_isup_grade | 2
（左肾）透明细胞肾细胞癌（ISUP 3级）。 | who_isup_grade | 3
（左肾）透明细胞肾细胞癌，ISUP/WHO分级Ⅱ级。 | who_isup_grade | 2
（左肾）透明细胞肾细胞癌，核分级（ISUP/WHO 2016）：3级。 | who_isup_grade | 3
（左肾）透明细胞癌，Fuhrman核分级Ⅱ级。 | fuhrman_grade | 2
（左肾）透明细胞癌（Fuhrman 2级）。 | fuhrman_grade | 2
（左肾）肾透明细胞癌。 | kidney_subtype | clear_cell_renal_cell_carcinoma
（右肾）肾细胞癌，透明细胞型。 | kidney_subtype | clear_cell_renal_cell_carcinoma
（右肾）透明细胞性肾癌。 | kidney_subtype | clear_cell_renal_cell_carcinoma
右侧肾脏，部分切除术：亮细胞型肾细胞癌。 | kidney_subtype | clear_cell_renal_cell_carcinoma
右侧肾脏：清亮细胞肾细胞癌。 | kidney_subtype | clear_cell_renal_cell_carcinoma
（右肾）肾细胞癌，乳头状型，Ⅰ型。 | kidney_subtype | papillary_renal_cell_carcinoma
（右肾）乳头状肾癌，II型。 | kidney_subtype | papillary_renal_cell_carcinoma
（右肾）嫌色细胞性肾细胞癌。 | kidney_subtype | chromophobe_renal_cell_carcinoma
（右肾）肾嫌色细胞癌，嗜酸亚型。 | kidney_subtype | chromophobe_renal_cell_carcinoma
（右肾）TFE3易位相关性肾细胞癌。 | kidney_subtype | tfe3_rearranged_renal_cell_carcinoma
（右肾）Xp11.2易位/TFE3基因融合相关性肾癌。 | kidney_subtype | tfe3_rearranged_renal_cell_carcinoma
（右肾）黏液样小管状和梭形细胞癌。 | kidney_subtype | mucinous_tubular_and_spindle_cell_carcinoma
（右肾）粘液小管状及梭形细胞癌。 | kidney_subtype | mucinous_tubular_and_spindle_cell_carcinoma
（右肾）管状囊性肾细胞癌。 | kidney_subtype | tubulocystic_renal_cell_carcinoma
（右肾）血管平滑肌脂肪瘤。 | kidney_subtype | angiomyolipoma
（右肾）错构瘤（血管平滑肌脂肪瘤）。 | kidney_subtype | angiomyolipoma
（右肾）SDH缺陷型肾细胞癌。 | kidney_subtype | succinate_dehydrogenase_deficient_renal_cell_carcinoma
（右肾）未分类肾细胞癌。 | kidney_subtype | unclassified_renal_cell_carcinoma
左肾癌根治标本：透明细胞癌，伴肉瘤样分化。 | sarcomatoid_features | present
左肾透明细胞癌，未见肉瘤样分化。 | sarcomatoid_features | absent
左肾透明细胞癌，肉瘤样变：无。 | sarcomatoid_features | absent
左肾透明细胞癌，肉瘤样成分约占30%。 | sarcomatoid_features | present
左肾透明细胞癌，横纹肌样特征：未见。 | rhabdoid_features | absent
左肾透明细胞癌，肾周脂肪受累。 | perinephric_invasion | present
左肾透明细胞癌，突破肾被膜侵犯肾周脂肪。 | perinephric_invasion | present
左肾透明细胞癌，肾周脂肪囊（-）。 | perinephric_invasion | absent
左肾透明细胞癌，肾周脂肪：未累及。 | perinephric_invasion | absent
左肾透明细胞癌，肾窦脂肪可见癌浸润。 | renal_sinus_invasion | present
左肾透明细胞癌，肾窦（-），肾盂（-）。 | renal_sinus_invasion | absent
左肾透明细胞癌，肾静脉癌栓（+）。 | renal_vein_invasion | present
左肾透明细胞癌，肾静脉内可见瘤栓。 | renal_vein_invasion | present
左肾透明细胞癌，肾静脉及输尿管断端未见癌。 | renal_vein_invasion | -
左肾透明细胞癌，肾上腺未见肿瘤累及。 | adrenal_invasion | absent
左肾透明细胞癌，肾上腺（－）。 | adrenal_invasion | absent
左肾透明细胞癌侵犯同侧肾上腺。 | adrenal_invasion | present
（左乳）浸润性乳管癌。 | histologic_type | invasive_carcinoma_no_special_type
（左乳）浸润性小叶癌。 | histologic_type | invasive_lobular_carcinoma
（左乳）浸润性癌，非特殊型。 | histologic_type | invasive_carcinoma_no_special_type
（左乳）浸润性癌（IDC-NST）。 | histologic_type | invasive_carcinoma_no_special_type
（左乳）乳腺癌。 | histologic_type | -
（前列腺）前列腺癌，Gleason 3+3=6分。 | histologic_type | -
（前列腺）前列腺腺癌，Gleason 3+3=6分。 | histologic_type | adenocarcinoma
摄护腺腺泡性腺癌，Gleason score 3+3=6。 | histologic_type | acinar_adenocarcinoma
（左肺）鳞状上皮细胞癌。 | histologic_type | squamous_cell_carcinoma
（左肺）鳞癌，角化型。 | histologic_type | squamous_cell_carcinoma
（左肺）腺癌，贴壁型为主。 | histologic_type | adenocarcinoma
（左肺）浸润性腺癌。 | histologic_type | adenocarcinoma
（左肺）原位腺癌。 | histologic_type | -
（肝）肝细胞性肝癌。 | histologic_type | hepatocellular_carcinoma
（肝）肝细胞癌。 | histologic_type | hepatocellular_carcinoma
（肝）胆管细胞癌。 | histologic_type | cholangiocarcinoma
（肝）肝内胆管细胞癌。 | histologic_type | cholangiocarcinoma
（背部皮肤）恶性黑色素瘤，结节型。 | histologic_type | nodular_melanoma
（面部皮肤）鳞状细胞癌。 | histologic_type | squamous_cell_carcinoma
（直肠）粘液腺癌。 | histologic_type | mucinous_adenocarcinoma
（胃）管状腺癌。 | histologic_type | tubular_adenocarcinoma
（胃）未见癌。 | histologic_type | -
（直肠）慢性炎，未见恶性证据。 | histologic_type | -
前列腺癌，Gleason评分3+4=7。 | gleason_score | 7
前列腺腺癌，Gleason分级：4+3=7分。 | gleason_primary | 4
前列腺腺癌，Gleason评分7分（3+4）。 | gleason_secondary | 4
前列腺腺癌，Gleason 4＋5。 | gleason_score | 9
前列腺腺癌，格里森评分：3+4=7分。 | gleason_score | 7
前列腺腺癌，Gleason 3+4=7，分级分组：2级。 | grade_group | 2
前列腺腺癌，Gleason 3+4=7（预后分组：2组）。 | grade_group | 2
前列腺腺癌，Gleason 4+4=8，WHO/ISUP 4级。 | grade_group | 4
前列腺腺癌，Gleason 4+4=8，ISUP分组4组。 | grade_group | 4
前列腺腺癌，Gleason 4+4=8，Grade Group 4。 | grade_group | 4
前列腺根治标本：腺癌，前列腺包膜外侵犯（+）。 | extraprostatic_extension | present
前列腺根治标本：腺癌，未见前列腺外扩展。 | extraprostatic_extension | absent
前列腺根治标本：腺癌，未突破包膜。 | extraprostatic_extension | absent
前列腺根治标本：腺癌，突破前列腺包膜。 | extraprostatic_extension | present
前列腺根治标本：腺癌，EPE：阴性。 | extraprostatic_extension | absent
前列腺根治标本：腺癌，双侧精囊腺（-）。 | seminal_vesicle_invasion | absent
前列腺根治标本：腺癌，精囊腺受侵。 | seminal_vesicle_invasion | present
前列腺根治标本：腺癌，精囊：可见癌累及。 | seminal_vesicle_invasion | present
摄护腺腺癌，储精囊侵犯：无。 | seminal_vesicle_invasion | absent
摄护腺腺癌，储精囊侵犯：有。 | seminal_vesicle_invasion | present
（左肺）腺癌，脏层胸膜受侵。 | pleural_invasion | present
（左肺）腺癌，侵犯脏层胸膜（PL1）。 | pleural_invasion | present
（左肺）腺癌，未突破脏层胸膜（PL0）。 | pleural_invasion | absent
（左肺）腺癌，胸膜：未累及。 | pleural_invasion | absent
（左肺）腺癌，气腔播散（+）。 | spread_through_air_spaces | present
（左肺）腺癌，STAS：无。 | spread_through_air_spaces | absent
（左肺）腺癌，可见STAS。 | spread_through_air_spaces | present
（左肺）腺癌，PD-L1（22C3）TPS：60%。 | pdl1_tps | 60
（左肺）腺癌，PD-L1(TPS<1%)。 | pdl1_tps | 1
（左肺）腺癌，PD-L1（SP263）肿瘤细胞阳性率（TPS）约5%。 | pdl1_tps | 5
（胃）腺癌，PD-L1综合阳性评分（CPS）：10。 | pdl1_cps | 10
（胃）腺癌，PD-L1 CPS≥5。 | pdl1_cps | 5
（胃）腺癌，PD-L1(CPS=8)。 | pdl1_cps | 8
（左乳）浸润性癌，HER-2（0）。 | her2_score | 0
（左乳）浸润性癌，HER-2：0分。 | her2_score | 0
（左乳）浸润性癌，HER2（1+，阴性）。 | her2_score | 1
（左乳）浸润性癌，C-erbB-2（3+）。 | her2_score | 3
（左乳）浸润性癌，CerbB-2(++)。 | her2_score | 2
（左乳）浸润性癌，Her-2 2+。 | her2_score | 2
（左乳）浸润性癌，HER2：3+（阳性）。 | her2 | positive
（左乳）浸润性癌，HER-2(-)。 | her2 | negative
（左乳）浸润性癌，HER2（2+），FISH检测HER2基因有扩增。 | her2 | positive
（左乳）浸润性癌，ER（＋）80%，PR（－）。 | er | positive
（左乳）浸润性癌，ER（＋）80%，PR（－）。 | pr | negative
（左乳）浸润性癌，ER：强阳性，约90%。 | er | positive
（左乳）浸润性癌，ER 90%（+++）。 | er | positive
（左乳）浸润性癌，ER（0%）。 | er | negative
（左乳）浸润性癌，ER、PR均阴性。 | pr | negative
（左乳）浸润性癌，雌激素受体(ER)：阴性。 | er | negative
（左乳）浸润性癌，荷尔蒙受体：ER 阳性 95%，PR 阳性 60%。 | pr | positive
（左乳）三阴性乳腺癌。 | er | negative
（左乳）浸润性癌，Ki-67指数约25%。 | ki67 | 25
（左乳）浸润性癌，Ki67阳性率15-20%。 | ki67 | 20
（左乳）浸润性癌，Ki-67（MIB-1）：40%。 | ki67 | 40
（左乳）浸润性癌，Ki-67增殖指数：30%。 | ki67 | 30
（直肠）腺癌，错配修复蛋白表达完整（pMMR）。 | mmr | proficient
（直肠）腺癌，MLH1（缺失），PMS2（缺失）。 | mlh1 | lost
（直肠）腺癌，MLH1表达缺失。 | mlh1 | lost
（直肠）腺癌，MSH6核阳性。 | msh6 | retained
（直肠）腺癌，MSI-H。 | msi | high
（直肠）腺癌，微卫星稳定型（MSS）。 | msi | stable
（直肠）腺癌，KRAS野生型。 | kras | not_mutated
（直肠）腺癌，检测到KRAS G12D突变。 | kras | mutated
（直肠）腺癌，脉管癌栓（-）。 | lymphovascular_invasion | absent
（直肠）腺癌，脉管侵犯：（+）。 | lymphovascular_invasion | present
（直肠）腺癌，脉管内查见癌栓。 | lymphovascular_invasion | present
（直肠）腺癌，脉管瘤栓：无。 | lymphovascular_invasion | absent
（直肠）腺癌，淋巴管内见癌栓。 | lymphovascular_invasion | present
（直肠）腺癌，LVI（-），PNI（+）。 | lymphovascular_invasion | absent
（直肠）腺癌，LVI（-），PNI（+）。 | perineural_invasion | present
（直肠）腺癌，未见肯定的脉管内癌栓及神经侵犯。 | perineural_invasion | absent
（直肠）腺癌，有脉管侵犯。 | lymphovascular_invasion | present
（直肠）腺癌，脉管、神经均未见癌侵犯。 | lymphovascular_invasion | absent
（直肠）腺癌，癌组织侵犯神经。 | perineural_invasion | present
（直肠）腺癌，神经束膜侵犯（+）。 | perineural_invasion | present
（直肠）腺癌，神经周围浸润：未发现。 | perineural_invasion | absent
（直肠）腺癌，神经累犯：可见。 | perineural_invasion | present
（直肠）腺癌，肿瘤大小：3×2×1cm。 | tumor_size_mm | 30
（直肠）腺癌，体积3.5 cm×3 cm×2 cm。 | tumor_size_mm | 35
（直肠）腺癌，肿瘤最大直径2.8cm。 | tumor_size_mm | 28
（直肠）腺癌，瘤体大小30mm×25mm×20mm。 | tumor_size_mm | 30
（左乳）浸润性癌，浸润灶最大径约8毫米。 | tumor_size_mm | 8
（左乳）浸润性癌，肿瘤范围2.0X1.5X1.0厘米。 | tumor_size_mm | 20
（左肺）腺癌（大小2.1*1.8*1.5cm）。 | tumor_size_mm | 21
（左肺）腺癌，2.1×1.8×1.5cm。 | tumor_size_mm | 21
左肺，楔形切除：腺癌，肿瘤大小：2.2 x 1.8 x 1.5 公分。 | tumor_size_mm | 22
（肝）肝细胞癌，肿瘤直径4.5公分。 | tumor_size_mm | 45
（直肠）腺癌，上下切缘均未见癌。 | margin_involved | absent
（直肠）腺癌，两侧切缘干净。 | margin_involved | absent
（直肠）腺癌，切缘（－）。 | margin_involved | absent
（直肠）腺癌，环周切缘：阳性。 | margin_involved | present
（直肠）腺癌，上切缘净，下切缘见癌。 | margin_involved | present
（直肠）腺癌，环周切缘可见癌累及。 | margin_involved | present
（直肠）腺癌，手术切缘：未受侵犯。 | margin_involved | absent
（直肠）腺癌，手术边缘：未见肿瘤。 | margin_involved | absent
（直肠）腺癌，断端未见癌残留。 | margin_involved | absent
（左乳）浸润性癌，切缘距肿瘤0.2cm，未见癌。 | margin_involved | absent
（左乳）浸润性癌，各切缘均为阴性，最近切缘为下切缘，距离3mm。 | margin_involved | absent
（左乳）浸润性癌，淋巴结转移（2/15）。 | lymph_nodes_positive | 2
（左乳）浸润性癌，腋窝淋巴结15枚，2枚见癌转移。 | lymph_nodes_positive | 2
（左乳）浸润性癌，腋窝淋巴结15枚，其中2枚见癌转移。 | lymph_nodes_examined | 15
（左乳）浸润性癌，送检前哨淋巴结3枚，均未见癌。 | lymph_nodes_positive | 0
（左乳）浸润性癌，检出淋巴结12枚，均未见癌转移。 | lymph_nodes_examined | 12
（直肠）腺癌，肠周淋巴结见癌转移（3/12），另送第253组淋巴结（0/2）。 | lymph_nodes_examined | 14
（直肠）腺癌，淋巴结：肠周 1/10，系膜 0/4。 | lymph_nodes_positive | 1
（直肠）腺癌，淋巴结转移数/总数：2/16。 | lymph_nodes_positive | 2
（直肠）腺癌，区域淋巴结：0/18。 | lymph_nodes_examined | 18
（直肠）腺癌，淋巴结转移情况（阳性数/总数）：3/20。 | lymph_nodes_positive | 3
（直肠）腺癌，淋巴结：共20颗，其中3颗转移。 | lymph_nodes_positive | 3
（直肠）腺癌，pT3N1aM0。 | pn_category | n1a
（直肠）腺癌，病理分期：pT3 N1a。 | pt_category | t3
（直肠）腺癌，病理分期（AJCC第8版）：ypT2N0Mx。 | pt_category | t2
（直肠）腺癌，TNM分期：T4aN2bM1a。 | pm_category | m1a
（直肠）腺癌，pTNM：T3N0M0，ⅡA期。 | stage_group | IIA
（左足底皮肤）恶性黑色素瘤，Breslow厚度：1.5mm。 | breslow_thickness_mm | 1.5
（左足底皮肤）恶性黑色素瘤，浸润深度（Breslow）3.2毫米。 | breslow_thickness_mm | 3.2
（左足底皮肤）恶性黑色素瘤，Clark分级Ⅴ级。 | clark_level | 5
（左足底皮肤）恶性黑色素瘤，表面溃疡形成。 | ulceration | present
（左足底皮肤）恶性黑色素瘤，未见溃疡。 | ulceration | absent
（左足底皮肤）恶性黑色素瘤，核分裂：3个/mm²。 | mitotic_rate | 3
（肝）肝细胞癌，微血管侵犯（MVI）：M1级。 | mvi_grade | m1
（肝）肝细胞癌，MVI：M0。 | mvi_grade | m0
（肝）肝细胞癌，未见微血管癌栓（MVI=0，M0）。 | microvascular_invasion | absent
（肝）肝细胞癌，可见微血管癌栓。 | microvascular_invasion | present
（肝）肝细胞癌，周围肝组织呈结节性肝硬化。 | cirrhosis | present
（肝）肝细胞癌，无肝硬化。 | cirrhosis | absent
（肝）肝细胞癌，Edmondson分级Ⅲ级。 | edmondson_grade | 3
（肝）肝细胞癌，卫星结节：无。 | satellite_nodules | absent
（肝）肝细胞癌，可见卫星灶。 | satellite_nodules | present
（左肾）透明细胞癌，可见肿瘤性坏死。 | tumor_necrosis | present
（左肾）透明细胞癌，坏死（-）。 | tumor_necrosis | absent
（左肾）透明细胞癌，未见坏死。 | tumor_necrosis | absent
（左肾）透明细胞癌，肿瘤坏死：有，约10%。 | tumor_necrosis | present
左侧乳房，乳房切除术：浸润性乳管癌。 | laterality | left
右乳浸润性癌。 | laterality | right
（双侧乳腺）左乳浸润性癌，右乳腺病。 | laterality | left
左肺上叶：腺癌。 | laterality | left
右侧肾脏：肾细胞癌。 | laterality | right
（左乳）浸润性癌，腋窝淋巴结（2/16）见癌转移，其中腋尖淋巴结（0/3）。 | lymph_nodes_examined | 16
（食管）鳞癌，淋巴结未见癌转移（0/20），其中第7组0/8，第8组0/12。 | lymph_nodes_examined | 20
（左乳）浸润性癌，腋窝淋巴结转移性癌2/14枚，其中1枚伴坏死；另送淋巴结0/2枚未见癌。 | lymph_nodes_examined | 16
（左肺）腺癌◆大小2.5cm×2cm×2cm◆脏层胸膜未见侵犯◆切缘阴性 | tumor_size_mm | 25
"""


def value_of(text: str, field: str, *, derived: bool) -> FieldValue | None:
    values = [value for value in structure(text).values if value.field == field]
    found = [value for value in values if derived or value.status is not Status.DERIVED]
    return min(found, key=lambda value: value.part is not None, default=None)


@pytest.mark.parametrize("form", FORMS.strip().splitlines())
def test_a_chinese_form_is_read_with_its_words(form):
    text, field, expected = form.split(" | ")
    value = value_of(text, field, derived=expected != "-")
    if expected == "-":
        assert value is None
        return
    assert value is not None
    assert (f"{value.value:g}" if isinstance(value.value, int | float) else value.value) == expected
    assert all(text[place.start : place.end] for place in value.evidence)
