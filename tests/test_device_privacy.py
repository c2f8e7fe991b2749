"""Device files keep their secrets, and broken ones end in a sentence: soon, in little memory, nothing executed."""

import base64
import re
import struct
import time
import traceback
from html import escape

import numpy as np
import pytest

from ecgstudy.data.records import LEADS, RecordError, find_records, read_record
from tests import device_files as files
from tests.attack.mutations import memory, mutate
from tests.device_files import FORMATS, counts_of

FS = 500
WHO = "Zaphod-B"
DATES = ("2024", "1963", "29.02", "10:11", "10.11", "0229", "101112")


@pytest.fixture(autouse=True)
def quickly():
    began = time.process_time()
    yield
    assert time.process_time() - began < 20


@pytest.fixture(scope="module")
def short():
    """(12, samples) in steps of half a microvolt, 2 s."""
    return counts_of(files.beats(1000), 0.5)


def write(name, counts, path, **other):
    _, writer, step, leads = FORMATS[name]
    rows = counts if name != "sierra" else counts // 10
    writer(path, rows[[LEADS.index(lead) for lead in leads]], FS, leads, step, **other)


def words(record):
    """All text of a record."""
    return " ".join(map(str, [value for key, value in vars(record).items() if key not in ("signal", "identity")]))


# Identity


@pytest.mark.parametrize("name", FORMATS)
def test_who_it_is_stays_in_the_file(name, short, tmp_path, capfd, caplog):
    path = tmp_path / f"ecg{FORMATS[name][0]}"
    write(name, short, path, who=WHO)
    stored = path.read_bytes()
    assert WHO.encode() in stored or WHO.encode("utf-16-le") in stored
    record = read_record(path)
    told = words(record) + repr(record) + str(record.identity)
    assert WHO not in told and not record.identity
    assert not any(date in words(record) for date in DATES)
    assert not any(capfd.readouterr()) and not caplog.records
    shown = read_record(path, show_identity=True)
    assert any(WHO in text for text in shown.identity.values())
    assert words(shown) == words(record) and WHO not in repr(shown)
    assert any("2024" in text or "29.02.24" in text for text in shown.identity.values())


@pytest.mark.parametrize("name", FORMATS)
def test_markup_and_control_characters_in_a_header_do_nothing(name, short, tmp_path):
    path = tmp_path / f"ecg{FORMATS[name][0]}"
    evil = "<b>x</b>" if name in ("edf", "bdf") else "<script>alert(1)"
    text = FORMATS[name][0] == ".xml"
    write(name, short, path, who=escape(evil) if text else evil.replace(" ", "_"))
    record = read_record(path, show_identity=True)
    assert "<" not in words(record)
    assert any("<" in value for value in record.identity.values())
    bell = tmp_path / "bell.ecg"
    write("ishne", short, bell, who="a\x1b[2Jb")
    assert read_record(bell, show_identity=True).identity["patient id"] == r"a\x1b[2Jb"


def test_labels_of_channels_may_be_names(short, tmp_path):
    import edfio

    files.write_edf(tmp_path / "a.edf", short, FS, extra=[files.edf_signal(short[0], FS, WHO)])
    assert "1 that are no ECG leads" in words(read_record(tmp_path / "a.edf"))
    files.write_scp(tmp_path / "a.scp", short, FS, who=WHO)
    channels = [files.dicom_channel(WHO, WHO, "0.5", coded=False) for _ in LEADS]
    files.save_dicom(tmp_path / "a.dcm", [files.dicom_group(short, FS, channels, label=WHO)])
    text = files.aecg_text(short, FS, ("I", "II", *[f"{WHO}{n}" for n in range(10)]))
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    text = files.muse_text(short[:8], FS, ("I", "II", *[f"{WHO}{n}" for n in range(6)]))
    (tmp_path / "m.xml").write_text(text, encoding="utf-8")
    files.write_sierra(tmp_path / "s.xml", short // 10, FS, (*LEADS[:11], "Zaphod"))
    for suffix in ("edf", "scp", "dcm", "xml"):
        for path in tmp_path.glob(f"*.{suffix}"):
            record = read_record(path)
            assert "Zaphod" not in words(record), path
    edfio.Edf([files.edf_signal(row, FS, WHO) for row in short]).write(tmp_path / "b.edf")
    with pytest.raises(RecordError) as error:
        read_record(tmp_path / "b.edf")
    assert WHO not in str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_changed_files_are_read_or_refused_and_never_quoted(name, short, tmp_path, capfd, caplog):
    path = tmp_path / f"ecg{FORMATS[name][0]}"
    write(name, short, path, who=WHO)
    whole, refused = path.read_bytes(), 0
    for number in range(40):
        rng = np.random.default_rng([number, len(name)])
        path.write_bytes(mutate(whole, path.suffix == ".xml", rng))
        find_records(tmp_path)
        try:
            with memory(len(whole)):
                told = words(read_record(path))
        except RecordError as error:
            told = "".join(traceback.format_exception(error))
            assert str(path) in told and re.search(r"; .", str(error)), told
            refused += 1
        assert "Zaphod" not in told and "aphod" not in told
    assert 0 < refused < 40
    assert not any(capfd.readouterr()) and not caplog.records


# Broken files


def replaced(data, *pairs):
    for old, new in pairs:
        assert old in data, old
        data = data.replace(old, new)
    return data


def dicom(*, drop=(), sequence=True, syntax=None, **group):
    import pydicom

    def make(short, path):
        write("dicom", short, path, who=WHO)
        data = pydicom.dcmread(path)
        for name, value in group.items():
            setattr(data.WaveformSequence[0], name, value)
        for name in drop:
            delattr(data.WaveformSequence[0], name)
        if not sequence:
            del data.WaveformSequence
        if syntax:
            data.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=syntax != "1.2.840.10008.1.2.2")

    return make


def many_groups(short, path):
    group = files.dicom_group(short[:1, :10], FS, [files.dicom_channel("I", sensitivity="1")])
    files.save_dicom(path, [group] * 2000)


def stated(short, path):
    """An element that states a length of gigabytes."""
    write("dicom", short, path)
    data = path.read_bytes()
    at = data.index(b"OW\0\0") + 4
    path.write_bytes(data[:at] + struct.pack("<I", 2**32 - 2) + data[at + 4 :])


def edf(*pairs, at=None):
    def make(short, path):
        write("edf", short, path, who=WHO)
        data = replaced(path.read_bytes(), *pairs)
        for place, text in (at or {}).items():
            data = data[:place] + text + data[place + len(text) :]
        path.write_bytes(data)

    return make


def of_signal(field):
    """Where the first signal's field begins in an EDF of 12 leads and annotations."""
    widths = {
        "label": 16,
        "transducer": 80,
        "unit": 8,
        "pmin": 8,
        "pmax": 8,
        "dmin": 8,
        "dmax": 8,
        "filter": 80,
        "n": 8,
    }
    before = 0
    for name, width in widths.items():
        if name == field:
            return 256 + 13 * before
        before += width
    raise KeyError(field)


def ishne(place, kind, value):
    def make(short, path):
        data = bytearray(files.ishne_bytes(short, FS, who=WHO))
        struct.pack_into(kind, data, place, value)
        path.write_bytes(data)

    return make


def scp(section, offset, kind, value):
    """A value put into a section, 0 for the pointers to sections."""

    def make(short, path):
        data = bytearray(files.scp_bytes(short, FS, who=WHO, packed=False, difference=0))
        starts = {0: 7}
        for at in range(22, 22 + 120, 10):
            number, _, start = struct.unpack_from("<HII", data, at)
            starts[number] = start
        struct.pack_into(kind, data, starts[section] - 1 + offset, value)
        path.write_bytes(data)

    return make


def text(short, path):
    path.write_text(WHO * 100)


def xml(name, *pairs):
    def make(short, path):
        if name == "sierra":
            text = files.sierra_text(short // 10, FS, who=WHO, encoding="utf-8")
        else:
            text = (files.aecg_text if name == "aecg" else files.muse_text)(
                short if name == "aecg" else short[:8], FS, who=WHO
            )
        path.write_text(replaced(text, *pairs), encoding="utf-8")

    return make


def part(name, share):
    def make(short, path):
        write(name, short, path, who=WHO)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def bomb(short, path):
    """A chunk of XLI that unpacks to some hundred times what it stands for: a harmless one, of one byte repeated."""
    chunk = files.lzw(bytes(300_000))
    data = base64.b64encode(struct.pack("<ihh", len(chunk), 0, 0) + chunk).decode()
    text = files.sierra_text(short // 10, FS, who=WHO, encoding="utf-8")
    path.write_text(re.sub(r'(samplespersecond="500">).*(</parsed)', rf"\1{data}\2", text, flags=re.DOTALL))


def sparse(short, path):
    write("scp", short, path)
    with path.open("r+b") as file:
        file.truncate(3 << 30)


ENTITY = ('<?xml version="1.0" encoding="UTF-8"?>', '<!DOCTYPE x [<!ENTITY who "Zaphod-B"><!ENTITY a "&who;&who;">]>')
OUTSIDE = ('<?xml version="1.0" encoding="UTF-8"?>', '<!DOCTYPE x [<!ENTITY who SYSTEM "file:///etc/hostname">]>')

# What is broken → suffix, how it is made, what is said of it
BROKEN = {
    "DICOM, half": (".dcm", part("dicom", 0.5), "does not hold the samples"),
    "DICOM, cut in its header": (".dcm", part("dicom", 0.01), "without a waveform"),
    "DICOM, text": (".dcm", text, "is no DICOM file"),
    "DICOM, empty": (".dcm", lambda s, p: p.write_bytes(b""), "is no DICOM file"),
    "DICOM, rate 0": (".dcm", dicom(SamplingFrequency="0"), "no sampling rate, or one of zero"),
    "DICOM, rate -1": (".dcm", dicom(SamplingFrequency="-1"), "no sampling rate, or one of zero"),
    "DICOM, rate missing": (".dcm", dicom(drop=("SamplingFrequency",)), "damaged"),
    "DICOM, absurd length": (".dcm", dicom(NumberOfWaveformSamples=2**32 - 1), "samples, more than the"),
    "DICOM, long": (".dcm", dicom(NumberOfWaveformSamples=2000), "does not hold the samples"),
    "DICOM, no samples": (".dcm", dicom(NumberOfWaveformSamples=0), "holds no samples"),
    "DICOM, 13 leads": (".dcm", dicom(NumberOfWaveformChannels=13), "does not hold"),
    "DICOM, words of 12 bits": (".dcm", dicom(WaveformBitsAllocated=12), "damaged"),
    "DICOM, mu-law": (".dcm", dicom(WaveformSampleInterpretation="MB"), "logarithmic"),
    "DICOM, a lead twice": (
        ".dcm",
        dicom(ChannelDefinitionSequence=[files.dicom_channel("I", sensitivity="1")] * 12),
        "a lead twice",
    ),
    "DICOM, no waveform": (".dcm", dicom(sequence=False), "without a waveform,"),
    "DICOM, deflated": (".dcm", dicom(syntax="1.2.840.10008.1.2.1.99"), "packed"),
    "DICOM, big-endian": (".dcm", dicom(syntax="1.2.840.10008.1.2.2"), "byte-swapped"),
    "DICOM, 4 GB stated": (".dcm", stated, None),
    "DICOM, many groups": (".dcm", many_groups, "multiplex groups, no ECG has more"),
    "EDF, cut in its header": (".edf", part("edf", 0.05), "damaged or cut short"),
    "EDF, cut": (".edf", part("edf", 0.6), "is cut short:"),
    "EDF, text": (".edf", text, "is no EDF or BDF file"),
    "EDF, 9999 signals": (".edf", edf(at={252: b"9999"}), "damaged"),
    "EDF, -1 signals": (".edf", edf(at={252: b"-1  "}), "damaged"),
    "EDF, no number of signals": (".edf", edf(at={252: b"Zaph"}), "damaged"),
    "EDF, records of 0 s": (".edf", edf(at={244: b"0       "}), "damaged"),
    "EDF, records of -1 s": (".edf", edf(at={244: b"-1      "}), "no sampling rate,"),
    "EDF, empty range of steps": (
        ".edf",
        edf(at={of_signal("dmin"): b"15000   "}),
        "an empty range of steps or of voltage",
    ),
    "EDF, empty range of voltage": (
        ".edf",
        edf(at={of_signal("pmin"): b"7500    "}),
        "an empty range of steps or of voltage",
    ),
    "EDF, range that is text": (".edf", edf(at={of_signal("pmin"): b"Zaphod  "}), "damaged"),
    "EDF, 0 samples": (".edf", edf(at={of_signal("n"): b"0       "}), "no whole data records"),
    "EDF, absurd length": (".edf", edf(at={of_signal("n"): b"99999999"}), ""),
    "EDF, no unit": (".edf", edf((b"uV      ", b"        ")), "no voltage as"),
    "EDF, backwards": (".edf", edf((b"EDF+C", b"EDF+D"), (b"+1\x14\x14", b"+0\x14\x14")), "overlap in time"),
    "EDF, years between": (
        ".edf",
        edf((b"EDF+C", b"EDF+D"), (b"+1\x14\x14\0+1\x14", b"+90000\x14\x14")),
        "hours apart",
    ),
    "EDF, no clock": (".edf", edf((b"EDF+C", b"EDF+D"), (b"+1\x14\x14", b"abcd")), "lacks its time"),
    "BDF, cut": (".bdf", part("bdf", 0.6), "is cut short:"),
    "ISHNE, cut in its header": (".ecg", part("ishne", 0.01), "cut short within its header"),
    "ISHNE, cut in a sample": (".ecg", part("ishne", 0.5001), "does not hold whole samples"),
    "ISHNE, text": (".ecg", text, "is no ISHNE file"),
    "ISHNE, 0 leads": (".ecg", ishne(156, "<h", 0), "1 to 12 leads"),
    "ISHNE, 13 leads": (".ecg", ishne(156, "<h", 13), "1 to 12 leads"),
    "ISHNE, rate 0": (".ecg", ishne(272, "<h", 0), "damaged"),
    "ISHNE, rate 1": (".ecg", ishne(272, "<h", 1), "1 Hz cannot be an ECG's"),
    "ISHNE, absurd comments": (".ecg", ishne(10, "<i", 2**31 - 1), "whole samples"),
    "ISHNE, negative comments": (".ecg", ishne(10, "<i", -8), "whole samples"),
    "SCP, cut": (".scp", part("scp", 0.5), "damaged or cut short"),
    "SCP, cut in its header": (".scp", part("scp", 0.001), "damaged or cut short"),
    "SCP, text": (".scp", text, "damaged or cut short"),
    "SCP, absurd length": (".scp", scp(3, 22, "<I", 2**32 - 1), "damaged or cut short"),
    "SCP, no leads": (".scp", scp(3, 16, "<B", 0), "damaged"),
    "SCP, 255 leads": (".scp", scp(3, 16, "<B", 255), "damaged"),
    "SCP, interval 0": (".scp", scp(6, 18, "<H", 0), "damaged"),
    "SCP, no step": (".scp", scp(6, 16, "<H", 0), "states no voltage"),
    "SCP, unknown differences": (".scp", scp(6, 20, "<B", 7), "damaged"),
    "SCP, bimodal": (".scp", scp(6, 21, "<B", 1), "compression that is not read"),
    "SCP, a section outside": (".scp", scp(0, 16 + 60 + 6, "<I", 2**31), "damaged"),
    "SCP, 3 GB of nothing": (".scp", sparse, "more than the .* that are read"),
    "aECG, cut": (".xml", part("aecg", 0.5), r"no well-formed XML \(line \d+, column \d+\),"),
    "aECG, entities": (".xml", xml("aecg", ENTITY, (f">{WHO}<", ">&a;<")), "declares XML entities"),
    "aECG, entities unused": (".xml", xml("aecg", ENTITY), "declares XML entities"),
    "aECG, an outside file": (".xml", xml("aecg", OUTSIDE, (f">{WHO}<", ">&who;<")), "declares XML entities"),
    "aECG, no rhythm": (".xml", xml("aecg", ('code="RHYTHM"', 'code="REPRESENTATIVE_BEAT"')), "without a rhythm"),
    "aECG, words": (".xml", xml("aecg", ("<digits>", f"<digits>{WHO} ")), "damaged"),
    "aECG, rate": (".xml", xml("aecg", ('increment value="0.002"', 'increment value="0"')), "damaged"),
    "aECG, endless rate": (".xml", xml("aecg", ('increment value="0.002"', 'increment value="1e-99"')), "cannot be"),
    "aECG, no unit": (".xml", xml("aecg", ('" unit="uV"', '" unit="Zaphod"')), "states no voltage"),
    "aECG, infinite": (".xml", xml("aecg", ("<digits>", "<digits>1e999 ")), "cannot be an ECG's"),
    "aECG, unequal leads": (".xml", xml("aecg", ("AVL\" displayName", "V7\" displayName")), None),
    "XML, unknown": (".xml", lambda s, p: p.write_text(f"<a>{WHO}</a>"), "is no XML of HL7 aECG,"),
    "XML, encoding": (".xml", xml("aecg", ('"UTF-8"', '"shift_jis"')), "in an encoding that is not read"),
    "XML, no encoding": (".xml", xml("aecg", ('"UTF-8"', f'"{WHO}"')), "in an encoding that is not read"),
    "XML, another encoding": (".xml", xml("aecg", ('encoding="UTF-8"', 'encoding="UTF-16"')), None),
    "MUSE, cut": (".xml", part("muse", 0.9), r"no well-formed XML"),
    "MUSE, no waveform": (".xml", xml("muse", ("<Waveform>", "<W>"), ("</Waveform>", "</W>")), "without a rhythm"),
    "MUSE, rate 0": (".xml", xml("muse", ("<SampleBase>500", "<SampleBase>0")), "no sampling rate, or one of zero"),
    "MUSE, rate text": (".xml", xml("muse", ("<SampleBase>500", f"<SampleBase>{WHO}")), "no sampling rate, or"),
    "MUSE, exponent": (".xml", xml("muse", ("Exponent>0", "Exponent>999")), "no sampling rate, or"),
    "MUSE, no base64": (".xml", xml("muse", ("<WaveFormData>", "<WaveFormData>***")), "damaged"),
    "MUSE, counts": (".xml", xml("muse", ("CountTotal>1000", "CountTotal>99999999")), "damaged"),
    "MUSE, no lead names": (".xml", xml("muse", ("LeadID>", "LeadIT>")), "damaged"),
    "Sierra, cut": (".xml", part("sierra", 0.5), r""),
    "Sierra, version": (".xml", xml("sierra", ("1.04<", f"{WHO}<")), "of a version .* not read"),
    "Sierra, rate 0": (".xml", xml("sierra", ('samplespersecond="500"', 'samplespersecond="0"')), "no sampling rate"),
    "Sierra, absurd length": (
        ".xml",
        xml("sierra", ('durationperchannel="2000"', 'durationperchannel="2e12"')),
        "samples, more than the",
    ),
    "Sierra, long": (".xml", xml("sierra", ('durationperchannel="2000"', 'durationperchannel="200000"')), "damaged"),
    "Sierra, no waveforms": (".xml", xml("sierra", ("parsedwaveforms", "waves")), "without waveforms"),
    "Sierra, no base64": (".xml", xml("sierra", ('samplespersecond="500">', 'samplespersecond="500">*')), "damaged"),
    "Sierra, a bomb": (".xml", bomb, "compressed leads are damaged"),
    "Sierra, entities": (".xml", xml("sierra", ('<?xml version="1.0" encoding="utf-8"?>', ENTITY[1])), "declares XML"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_ends_in_a_sentence(what, short, tmp_path, capfd, caplog):
    suffix, make, said = BROKEN[what]
    path = tmp_path / f"broken{suffix}"
    make(short, path)
    find_records(tmp_path)
    size = path.stat().st_size
    if said is None:  # odd, but all of the rhythm is there
        with memory(size):
            assert read_record(path).signal.shape[1] == 1000
        return
    with memory(min(size, 1 << 20)), pytest.raises(RecordError, match=rf"broken\{suffix}: .*{said}") as error:
        read_record(path)
    assert re.search(r"; (export|copy|correct|remove|split|pass|cut|allow) ", str(error.value))  # the remedy
    assert "Zaphod" not in "".join(traceback.format_exception(error.value))
    assert not any(capfd.readouterr()) and not caplog.records


def test_the_document_type_of_muse_is_not_opened(short, tmp_path):
    """MUSE files name a restecg.dtd: one beside the file, with entities in it, changes nothing."""
    (tmp_path / "restecg.dtd").write_text('<!ENTITY who "Zaphod">')
    write("muse", short, tmp_path / "a.xml", who="x")
    assert read_record(tmp_path / "a.xml", show_identity=True).identity["patient id"] == "x"
    text = (tmp_path / "a.xml").read_text(encoding="utf-8").replace("<PatientID>x", "<PatientID>&who;")
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match="; export"):
        read_record(tmp_path / "a.xml")
