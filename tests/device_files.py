"""Files of ECG devices, written after each format's specification or by another library, to be read back.

``write_*`` take (leads, samples) of whole steps, their rate, the leads' names, and what stands in every field of text.
"""

import base64
import binascii
import struct
import warnings
import zlib
from collections.abc import Callable
from datetime import date, time
from typing import NamedTuple

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
WHO = "Zaphod"


# DICOM: pydicom writes it


def dicom_channel(name, who=WHO, sensitivity="1", unit="uV", correction=None, baseline=None, coded="2:{}", bits=16):
    from pydicom.dataset import Dataset

    channel, source, units = Dataset(), Dataset(), Dataset()
    code = {lead: n for n, lead in enumerate(EIGHT, 1)}
    code |= {"III": 61, "aVR": 62, "aVL": 63, "aVF": 64}
    source.CodeValue = coded.format(code[name]) if coded and name in code else "99"
    source.CodingSchemeDesignator = "MDC"
    source.CodeMeaning = f"Lead {name} ({who})" if not coded else who
    channel.ChannelSourceSequence = [source]
    channel.ChannelLabel = who
    channel.WaveformBitsStored = bits
    if sensitivity is not None:
        channel.ChannelSensitivity = sensitivity
        units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", who
        channel.ChannelSensitivityUnitsSequence = [units]
    if correction is not None:
        channel.ChannelSensitivityCorrectionFactor = correction
    if baseline is not None:
        channel.ChannelBaseline = baseline
    return channel


def dicom_group(counts, fs, channels, label="RHYTHM", kind="<i2", offset=0, who=WHO, **other):
    from pydicom.dataset import Dataset

    group = Dataset()
    bits = np.dtype(kind).itemsize * 8
    group.MultiplexGroupTimeOffset = offset
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = counts.shape
    group.SamplingFrequency = fs
    group.MultiplexGroupLabel = label
    group.ChannelDefinitionSequence = channels
    group.WaveformBitsAllocated = bits
    group.WaveformSampleInterpretation = {"<i2": "SS", "<u2": "US", "<i4": "SL", "<i1": "SB"}[kind]
    group.WaveformData = np.ascontiguousarray(counts.T.astype(kind)).tobytes()
    for name, value in other.items():
        setattr(group, name, value)
    return group


def save_dicom(path, groups, who=WHO, sop="1.2.840.10008.5.1.4.1.1.9.1.1", age="061Y"):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = sop, "1.2.3.4"
    data.PatientName, data.PatientID, data.PatientBirthDate = who, who, "19630101"
    data.PatientSex, data.PatientAge = "F", age
    data.StudyDate, data.StudyTime, data.AcquisitionDateTime = "20240229", "101112", "20240229101112"
    data.AccessionNumber = data.StudyID = data.InstitutionName = data.InstitutionAddress = who
    data.InstitutionalDepartmentName = data.ReferringPhysicianName = data.OperatorsName = who
    data.PatientComments = data.StudyDescription = data.ManufacturerModelName = data.OtherPatientIDs = who
    data.Modality, data.WaveformSequence = "ECG", groups
    data.save_as(path, enforce_file_format=True)


def write_dicom(path, counts, fs, leads=LEADS, step=0.5, who=WHO, **other):
    channels = [dicom_channel(lead, who, f"{step:g}") for lead in leads]
    beat = dicom_group(counts[:, :300], fs, channels, label="MEDIAN BEAT", who=who)
    save_dicom(path, [dicom_group(counts, fs, channels, who=who, **other), beat], who)


# EDF and BDF: edfio writes them


def edf_signal(counts, fs, label, step=0.5, unit="uV", who=WHO, kind="edf"):
    import edfio

    cls, number = (edfio.EdfSignal, np.int16) if kind == "edf" else (edfio.BdfSignal, np.int32)
    most = 15000  # so that the range in nV fits into eight characters
    return cls.from_digital(
        np.asarray(counts, number),
        fs,
        label=label,
        transducer_type=who,
        physical_dimension=unit,
        physical_range=(-most * step, most * step),
        digital_range=(-most, most),
        prefiltering=who,
    )


def write_edf(path, counts, fs, leads=LEADS, step=0.5, who=WHO, kind="edf", unit="uV", extra=()):
    import edfio

    cls = edfio.Edf if kind == "edf" else edfio.Bdf
    signals = [
        edf_signal(row, fs, f"ECG {lead}", step, unit, who, kind) for row, lead in zip(counts, leads, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cls(
            [*signals, *extra],
            patient=edfio.Patient(code=who, sex="F", birthdate=date(1963, 1, 1), name=who),
            recording=edfio.Recording(
                startdate=date(2024, 2, 29), hospital_administration_code=who, investigator_technician_code=who
            ),
            starttime=time(10, 11, 12),
            data_record_duration=1,
            annotations=[edfio.EdfAnnotation(1.0, None, who)],
        ).write(path)


def write_bdf(path, counts, fs, leads=LEADS, step=0.5, who=WHO):
    write_edf(path, counts, fs, leads, step, who, kind="bdf")


# ISHNE (Badilini 1998): 522 bytes of header, then samples of all leads in turn


def ishne_bytes(counts, fs, leads=LEADS, step=0.5, who=WHO, comments=None):
    codes = {lead: n for n, lead in enumerate(("X", "Y", "Z", *LEADS, "ES", "AS", "AI"), 2)}
    n, samples = counts.shape
    text = who.encode("latin-1")
    comments = text if comments is None else comments
    head = struct.pack("<ii ii h", len(comments), samples, 522, 522 + len(comments), 1)
    head += text.ljust(40, b"\0") * 2 + text.ljust(20, b"\0")  # first and last name, identifier
    head += struct.pack("<hh", 2, 1) + struct.pack("<9h", 1, 1, 1963, 29, 2, 2024, 29, 2, 2024)
    head += struct.pack("<3h", 10, 11, 12) + struct.pack("<h", n)
    rest = [-9] * (12 - n)
    head += struct.pack("<12h", *(codes.get(lead, 1) for lead in leads), *rest)
    head += struct.pack("<12h", *([1] * n), *rest)
    head += struct.pack("<12h", *([round(step * 1000)] * n), *rest)  # nV
    head += struct.pack("<h", 0) + text.ljust(40, b"\0") + struct.pack("<h", fs)
    head += text.ljust(80, b"\0") * 2 + text.ljust(88, b"\0")
    assert len(head) == 512
    body = head + comments
    crc = binascii.crc_hqx(body, 0xFFFF)
    return b"ISHNE1.0" + struct.pack("<H", crc) + body + np.ascontiguousarray(counts.T.astype("<i2")).tobytes()


def write_ishne(path, counts, fs, leads=LEADS, step=0.5, who=WHO, **other):
    path.write_bytes(ishne_bytes(counts, fs, leads, step, who, **other))


# SCP-ECG (EN 1064)

_SCP_CODES = {lead: n for n, lead in enumerate(EIGHT, 1)} | {"III": 61, "aVR": 62, "aVL": 63, "aVF": 64, "-aVR": 65}
_SCP_CODES |= {"I-cal": 31}


def huffman(values):
    """Bits of the standard's default table (table B.1)."""
    bits = []
    for value in values:
        size = abs(int(value))
        if size == 0:
            bits.append("0")
        elif size <= 8:
            bits.append("1" * size + "0" + ("1" if value < 0 else "0"))
        elif -128 <= value <= 127:
            bits.append("1111111110" + format(int(value) & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(int(value) & 0xFFFF, "016b"))
    text = "".join(bits)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def scp_lead(row, packed, difference):
    row = np.asarray(row, np.int64)
    if difference == 1:
        row = np.concatenate([row[:1], np.diff(row)])
    elif difference == 2:
        row = np.concatenate([row[:2], np.diff(row, n=2)])
    data = huffman(row) if packed else row.astype("<i2").tobytes()
    return data + bytes(len(data) % 2)


def scp_data(counts, fs, step, packed, difference, bimodal=0):
    """The body of section 5 or 6."""
    chunks = [scp_lead(row, packed, difference) for row in counts]
    head = struct.pack("<HHBB", round(step * 1000), round(1e6 / fs), difference, bimodal)
    return head + struct.pack(f"<{len(chunks)}H", *map(len, chunks)) + b"".join(chunks)


def scp_bytes(counts, fs, leads=LEADS, step=0.5, who=WHO, packed=True, difference=2, beats=(), beat=None, **other):
    """``beats`` are the fiducial samples (from 1) from which ``beat`` (leads, samples) is subtracted."""
    text = who.encode("latin-1") + b"\0"
    device = bytes(7) + b"\xff" + text[:5].ljust(6, b"\0") + bytes([20, 0x90, 0x00, 0, 1]) + bytes(17) + text * 5
    tags = {0: text, 1: text, 2: text, 3: text, 4: struct.pack("<HB", 61, 1), 5: struct.pack("<HBB", 1963, 1, 1)}
    tags |= {8: b"\2", 10: bytes(3) + text, 13: text, 14: device, 25: struct.pack("<HBB", 2024, 2, 29)}
    tags |= {26: bytes([10, 11, 12])} | dict.fromkeys((16, 17, 18, 19, 20, 21, 22, 23, 30, 31, 35, 200), text)
    patient = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in sorted(tags.items()))
    starts = other.get("starts", [1] * len(counts))
    lengths = other.get("lengths", [counts.shape[1]] * len(counts))
    flags = (4 | len(counts) << 3) & 0xFF | bool(len(beats))
    definition = struct.pack("<BB", len(counts), flags) + b"".join(
        struct.pack("<IIB", start, start + length - 1, _SCP_CODES.get(lead, 0))
        for lead, start, length in zip(leads, starts, lengths, strict=True)
    )
    sections = {1: patient + b"\xff\0\0", 3: definition}
    if packed:
        sections[2] = struct.pack("<H", 19999)
    values = counts.copy()
    if len(beats):
        width, middle = beat.shape[1], beat.shape[1] // 2
        zones = [(at - middle, at, at - middle + width - 1) for at in beats]
        for first, _, last in zones:
            values[:, first - 1 : last] -= beat
        body = struct.pack("<HHH", round(width * 1000 / fs), middle + 1, len(beats))
        body += b"".join(struct.pack("<HIII", 0, *zone) for zone in zones)
        sections[4] = body + b"".join(struct.pack("<II", first, last) for first, _, last in zones)
        sections[5] = scp_data(beat, fs, step, packed, difference)
    sections[6] = scp_data(
        [row[:length] for row, length in zip(values, lengths, strict=True)],
        fs, step, packed, difference, other.get("bimodal", 0),
    )  # fmt: skip
    sections[8] = bytes(8) + b"\1" + struct.pack("<BH", 1, len(text)) + text
    sections |= other.get("sections", {})

    def section(number, body):
        body += bytes(len(body) % 2)
        rest = struct.pack("<HIBB", number, len(body) + 16, 20, 20) + (b"SCPECG" if number == 0 else bytes(6)) + body
        return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest

    made = {number: section(number, body) for number, body in sorted(sections.items())}
    head_length = 16 + 10 * 12
    at, pointers = 7 + head_length, struct.pack("<HII", 0, head_length, 7)
    for number in range(1, 12):
        size = len(made[number]) if number in made else 0
        pointers += struct.pack("<HII", number, size, at if size else 0)
        at += size
    data = section(0, pointers) + b"".join(made.values())
    data = struct.pack("<I", len(data) + 6) + data
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF)) + data


def write_scp(path, counts, fs, leads=LEADS, step=0.5, who=WHO, **other):
    path.write_bytes(scp_bytes(counts, fs, leads, step, who, **other))


# GE MUSE (restecg.dtd)


def muse_text(counts, fs, leads=EIGHT, step=4.88, who=WHO, unit="MICROVOLTS", exponent=0, **other):
    def lead(name, row):
        data = np.asarray(row, "<i2").tobytes()
        return f"""<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>
        <LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>
        <LeadAmplitudeUnitsPerBit>{step:g}</LeadAmplitudeUnitsPerBit>
        {f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits>" if unit else ""}<LeadHighLimit>32767</LeadHighLimit>
        <LeadID>{name}</LeadID><LeadOffsetFirstSample>0</LeadOffsetFirstSample>
        <FirstSampleBaseline>{other.get("baseline", 0)}</FirstSampleBaseline><LeadSampleSize>2</LeadSampleSize>
        <LeadDataCRC32>{zlib.crc32(data) + other.get("crc", 0)}</LeadDataCRC32>
        <WaveFormData>{base64.encodebytes(data).decode()}</WaveFormData></LeadData>"""

    def waveform(kind, values):
        rows = "".join(lead(name, row) for name, row in zip(leads, values, strict=True))
        return f"""<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(leads)}</NumberofLeads>
        <SampleType>CONTINUOUS_SAMPLES</SampleType><SampleBase>{fs}</SampleBase>
        <SampleExponent>{exponent}</SampleExponent>{rows}</Waveform>"""

    names = ("PatientID", "PatientFirstName", "PatientLastName", "Race")
    tests = "SiteName LocationName RoomID Site AcquisitionDevice AcquisitionTechFirstName AcquisitionTechLastName "
    tests += "ReferringMDLastName OverreaderLastName OrderingMDID CartNumber"
    demographics = "".join(f"<{tag}>{who}</{tag}>" for tag in names)
    test = "".join(f"<{tag}>{who}</{tag}>" for tag in tests.split())
    median = waveform("Median", counts[:, :600]) if other.get("median", True) else ""
    beats = "".join(
        f"<QRS><Number>{n}</Number><Type>0</Type><Time>{n}</Time></QRS>" for n in range(other.get("qrs", 3))
    )
    return f"""<?xml version="1.0" encoding="{other.get("encoding", "UTF-8")}"?>
    <!DOCTYPE RestingECG SYSTEM "restecg.dtd">
    <RestingECG><MuseInfo><MuseVersion>9.0.9</MuseVersion></MuseInfo>
    <PatientDemographics>{demographics}<DateofBirth>01-01-1963</DateofBirth><PatientAge>61</PatientAge>
    <AgeUnits>YEARS</AgeUnits><Gender>FEMALE</Gender></PatientDemographics>
    <TestDemographics>{test}<AcquisitionDate>02-29-2024</AcquisitionDate><AcquisitionTime>10:11:12</AcquisitionTime>
    </TestDemographics><Order><ReasonForTest>{who}</ReasonForTest></Order>
    <Diagnosis><DiagnosisStatement><StmtText>{who}</StmtText></DiagnosisStatement></Diagnosis>
    <QRSTimesTypes>{beats}</QRSTimesTypes>{median}{waveform("Rhythm", counts)}</RestingECG>"""


def write_muse(path, counts, fs, leads=EIGHT, step=4.88, who=WHO, **other):
    path.write_bytes(muse_text(counts, fs, leads, step, who, **other).encode(other.get("encoding", "utf-8")))


# HL7 aECG (PORT_MT020001)


def aecg_text(counts, fs, leads=LEADS, step=0.5, who=WHO, unit="uV", origin=0, increment=None, **other):
    def sequence(name, row):
        code = "MDC_ECG_LEAD_AVRNEG" if name == "-aVR" else f"MDC_ECG_LEAD_{name.upper() if name in LEADS else name}"
        return f"""<component><sequence><code code="{code}" displayName="{who}"/><value xsi:type="SLIST_PQ">
        <origin value="{origin}" unit="{unit}"/><scale value="{step:g}" unit="{unit}"/>
        <digits>{" ".join(map(str, np.asarray(row).tolist()))}</digits></value></sequence></component>"""

    def sequences(values, code="TIME_ABSOLUTE"):
        tick = increment or f'<increment value="{1 / fs:g}" unit="s"/>'
        clock = f"""<component><sequence><code code="{code}"/><value xsi:type="GLIST_TS">
        <head value="20240229101112"/>{tick}</value></sequence></component>"""
        rows = "".join(sequence(name, row) for name, row in zip(leads, values, strict=True))
        return f"<component><sequenceSet>{clock}{rows}</sequenceSet></component>"

    beat = f"""<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>
        {sequences(counts[:, :300], "TIME_RELATIVE")}</derivedSeries></derivation>"""
    person = f"<name>{who}</name>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
    <AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <id root="1.2" extension="{who}"/><code code="93000"/>
    <effectiveTime><center value="20240229101112"/></effectiveTime>
    <componentOf><timepointEvent><performer><studyEventPerformer><id extension="{who}"/><assignedPerson>{person}
    </assignedPerson></studyEventPerformer></performer><componentOf><subjectAssignment><subject><trialSubject>
    <id root="1.3" extension="{who}"/><subjectDemographicPerson>{person}<administrativeGenderCode code="F"/>
    <birthTime value="19630101"/><raceCode code="{who}"/></subjectDemographicPerson></trialSubject></subject>
    <componentOf><clinicalTrial><id extension="{who}"/><title>{who}</title><location><trialSite><id extension="{who}"/>
    <location>{person}<addr><city>{who}</city></addr></location></trialSite></location></clinicalTrial></componentOf>
    </subjectAssignment></componentOf></timepointEvent></componentOf>
    <component><series><id extension="{who}"/><code code="RHYTHM"/><author><seriesAuthor><id extension="{who}"/>
    <manufacturedSeriesDevice><id extension="{who}"/><manufacturerModelName>{who}</manufacturerModelName>
    </manufacturedSeriesDevice><manufacturerOrganization>{person}</manufacturerOrganization></seriesAuthor></author>
    {sequences(counts)}{other.get("more", "")}{beat if other.get("beat", True) else ""}
    </series></component></AnnotatedECG>"""


def write_aecg(path, counts, fs, leads=LEADS, step=0.5, who=WHO, **other):
    path.write_text(aecg_text(counts, fs, leads, step, who, **other), encoding="utf-8")


# Philips Sierra XML, with XLI compression (LZW of 10 bits over second differences)


def lzw(data):
    """LZW with codes of 10 bits, of which the last ends the stream."""
    table, codes, held = {bytes([n]): n for n in range(256)}, [], b""
    for byte in data:
        if (longer := held + bytes([byte])) in table:
            held = longer
            continue
        codes.append(table[held])
        if len(table) < 1023:
            table[longer] = len(table)
        held = bytes([byte])
    codes += [table[held], 1023]
    bits = "".join(format(code, "010b") for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def xli(row):
    """One lead: its packed length, a start value, and second differences, high bytes before low bytes."""
    row = np.asarray(row, np.int64)
    codes = row.copy()
    codes[2:] = 64
    codes[2:-1] += np.diff(row[1:], n=2) * -1
    words = codes.astype(np.int16).astype(">i2").tobytes()
    packed = lzw(words[0::2] + words[1::2])
    start = 2 * row[1] - row[0] - row[2]
    return struct.pack("<ihh", len(packed), 0, start) + packed


def sierra_text(counts, fs, leads=LEADS, step=5, who=WHO, packed=True, version="1.04", **other):
    values = np.asarray(counts, np.int64)
    if packed:
        one, two, three, right, left, foot = values[:6]
        rest = [two - one - three, -right - (one + two) // 2, (one - three) // 2 - left, (two + three) // 2 - foot]
        data = b"".join(map(xli, [one, two, *rest, *values[6:]]))
    else:
        data = values.astype("<i2").tobytes()
    flag = (
        'compressflag="True" compressmethod="XLI"' if packed else 'compressflag="False" compressmethod="Uncompressed"'
    )
    resolution = "signalresolution" if version == "1.03" else "resolution"
    resolution = f"<{resolution}>{step:g}</{resolution}>" if step else ""
    samples = values.shape[1]
    return f"""<?xml version="1.0" encoding="{other.get("encoding", "utf-16")}"?>
    <restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo><documentname>{who}</documentname>
    <filename>{who}</filename><documenttype>{"SierraECG" if version == "1.03" else "PhilipsECG"}</documenttype>
    <documentversion>{version}</documentversion><editor id="{who}">{who}</editor><comments>{who}</comments>
    </documentinfo>
    <userdefines><userdefine index="1"><label>{who}</label><value>{who}</value></userdefine></userdefines>
    <orderinfo><ordernumber>{who}</ordernumber><reasonfororder>{who}</reasonfororder></orderinfo>
    <dataacquisition date="2024-02-29" time="10:11:12">
    <machine machineid="{who}" detaildescription="{who}">{who}</machine>
    <acquirer><operator id="{who}">{who}</operator><room>{who}</room><departmentname>{who}</departmentname>
    <institutionname>{who}</institutionname><facilityname>{who}</facilityname>
    <referringclinician id="{who}">{who}</referringclinician></acquirer>
    <signalcharacteristics><samplingrate>{fs}</samplingrate>{resolution}<acquisitiontype>STD-12</acquisitiontype>
    <bitspersample>16</bitspersample><signaloffset>0</signaloffset><signalsigned>True</signalsigned>
    <numberchannelsallocated>{len(values)}</numberchannelsallocated><numberchannelsvalid>{len(values)}</numberchannelsvalid>
    </signalcharacteristics></dataacquisition>
    <patient><generalpatientdata><patientid>{who}</patientid><MRN>{who}</MRN><name><lastname>{who}</lastname>
    <firstname>{who}</firstname><middlename>{who}</middlename></name><age><dateofbirth>1963-01-01</dateofbirth></age>
    <sex>Female</sex><race>{who}</race></generalpatientdata></patient>
    <interpretations><interpretation><statement><leftstatement>{who}</leftstatement></statement></interpretation>
    </interpretations><waveforms><parsedwaveforms dataencoding="Base64" {flag} numberofleads="{len(values)}"
    leadlabels="{" ".join(leads)}" durationperchannel="{round(samples * 1000 / fs)}"
    {f'resolution="{step:g}"' if step and version != "1.03" else ""} samplespersecond="{fs}">
    {base64.encodebytes(data).decode()}</parsedwaveforms></waveforms></restingecgdata>"""


def write_sierra(path, counts, fs, leads=LEADS, step=5, who=WHO, **other):
    text = sierra_text(counts, fs, leads, step, who, **other)
    path.write_bytes(text.encode(other.get("encoding", "utf-16")))


class Format(NamedTuple):
    """A device format: its suffix, writer, usual step in µV, and the leads that its files store."""

    suffix: str
    write: Callable[..., None]
    step: float = 0.5
    leads: tuple[str, ...] = LEADS


FORMATS = {
    "dicom": Format(".dcm", write_dicom),
    "edf": Format(".edf", write_edf),
    "bdf": Format(".bdf", write_bdf),
    "ishne": Format(".ecg", write_ishne),
    "scp": Format(".scp", write_scp),
    "aecg": Format(".xml", write_aecg),
    "muse": Format(".xml", write_muse, 4.88, EIGHT),
    "sierra": Format(".xml", write_sierra, 5),
}


def counts_of(signal, step, leads=LEADS):
    """Whole steps of some leads of (12, samples) in mV."""
    return np.rint(signal[[LEADS.index(lead) for lead in leads]] * 1000 / step).astype(np.int64)


def beats(samples):
    """(12, samples) in mV at 500 Hz: a beat every 0.8 s, in limb leads that agree."""
    beat = np.exp(-0.5 * ((np.arange(samples) % 400 - 200) / 12.0) ** 2)
    eight = np.outer([0.4, 0.9, -0.3, 0.5, 1.2, 1.6, 1.3, 0.9], beat) + 0.02
    one, two = eight[:2]
    return np.vstack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, eight[2:]])
