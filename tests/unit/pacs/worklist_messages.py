"""Order messages as laboratory systems send them."""


def header(kind: str, control_id: str = "M-1", charset: str = "UNICODE UTF-8", asks: str = "|") -> str:
    """``asks`` is MSH-15 and MSH-16."""
    return rf"MSH|^~\&|LIS|LAB|DICOMSVC|HOSP|20260302080000+0800||{kind}|{control_id}|P|2.5.1|||{asks}||{charset}"


PID = "PID|1||77^^^CITY^SS~P-1^^^HOSP^MR||Wang^Xiaoming^^^^^L^A~王^小明^^^^^L^I||19600203|M"
PV1 = "PV1|1|I||||||D7^Referrer^Rita" + "|" * 11 + "V-9"


def orc(control: str = "NW", placer: str = "PL-1", filler: str = "S26-100", status: str = "SC") -> str:
    return f"ORC|{control}|{placer}^LIS|{filler}^LAB||{status}|||||||D1^House^Greg^^^Dr"


def obr(placer: str = "PL-1", filler: str = "S26-100", service: str = "HE^Hematoxylin and eosin^L") -> str:
    return f"OBR|1|{placer}^LIS|{filler}^LAB|{service}"


def spm(number: int = 1, identifier: str = "S26-100-A") -> str:
    return (
        f"SPM|{number}|PLC&LIS^{identifier}&LAB||309134004^Prostate tissue^SCT||||41216001^Prostate^SCT||||||Left apex"
    )


def sac(container: str = "S26-100-A-1") -> str:
    return f"SAC|||{container}^LAB"


def message(*segments: str, codec: str = "utf-8") -> bytes:
    return "".join(f"{segment}\r" for segment in segments).encode(codec)


def oml(
    *segments: str, control_id: str = "M-1", charset: str = "UNICODE UTF-8", codec: str = "utf-8", asks: str = "|"
) -> bytes:
    """OML^O21; without segments one order for one slide."""
    body = segments or (orc(), "TQ1|1||||||20260305103000||S", obr(), spm(), sac())
    return message(header("OML^O21^OML_O21", control_id, charset, asks), PID, PV1, *body, codec=codec)
