"""What is read from certificates: names of clients in every form, our own validity and names."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from net.secured import Authority
from noctule.config.tls import CertificateName
from noctule.core.origin import Certificate
from noctule.net.certificates import CertificateError, certificate_of, read_own, user_name_of


def part(kind: str, value: str) -> tuple[tuple[str, str], ...]:
    return ((kind, value),)


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ((), ""),
        ((part("commonName", "pump-7"),), "CN=pump-7"),
        (
            (
                part("countryName", "DE"),
                part("stateOrProvinceName", "Hessen"),
                part("localityName", "Kassel"),
                part("organizationName", "Example"),
                part("organizationalUnitName", "plant"),
                part("commonName", "pump-7"),
            ),
            "CN=pump-7,OU=plant,O=Example,L=Kassel,ST=Hessen,C=DE",
        ),
        (((("commonName", "a"), ("userId", "b")), part("domainComponent", "org")), "DC=org,CN=a+UID=b"),
        ((part("commonName", 'a,b+c"d\\e<f>g;h'),), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        ((part("commonName", " a b "),), "CN=\\ a b\\ "),
        ((part("commonName", " "),), "CN=\\ "),
        ((part("commonName", "#a#"),), "CN=\\#a#"),
        ((part("emailAddress", "a@b.example"),), "emailAddress=a@b.example"),
        ((part("1.2.3.4", "x"),), "1.2.3.4=x"),
        ((part("commonName", "Gerät"),), "CN=Gerät"),
        # One name does not look like another: admin in O is not admin behind a comma in CN.
        ((part("commonName", "x,O=admin"),), "CN=x\\,O=admin"),
    ],
)
def test_subject(subject: Any, written: str) -> None:
    assert certificate_of({"subject": subject}).subject == written


def test_names() -> None:
    certificate = certificate_of(
        {
            "subject": (part("commonName", "first"), part("commonName", "second")),
            "subjectAltName": (
                ("DNS", "a.example"),
                ("DNS", "b.example"),
                ("email", "a@b.example"),
                ("URI", "urn:pump:7"),
                ("IP Address", "192.0.2.1"),
                ("DirName", ((("commonName", "x"),),)),
                ("othername", "<unsupported>"),
            ),
        }
    )
    assert certificate.alternative_names == (
        "DNS:a.example",
        "DNS:b.example",
        "email:a@b.example",
        "URI:urn:pump:7",
        "IP:192.0.2.1",
    )
    expected = {
        CertificateName.COMMON_NAME: "first",
        CertificateName.SUBJECT: "CN=second,CN=first",
        CertificateName.DNS_NAME: "a.example",
        CertificateName.EMAIL: "a@b.example",
        CertificateName.URI: "urn:pump:7",
    }
    for wanted, name in expected.items():
        assert user_name_of(certificate, wanted) == name


@pytest.mark.parametrize("wanted", [name for name in CertificateName if name is not CertificateName.PSK_IDENTITY])
def test_a_certificate_without_names(wanted: CertificateName) -> None:
    with pytest.raises(CertificateError, match=f"no {wanted.value.replace('_', ' ')} to be its user name"):
        user_name_of(Certificate(""), wanted)


@pytest.mark.parametrize(
    "decoded",
    [
        {"subject": (part("commonName", "admin\0.evil.example"),)},
        {"subjectAltName": (("DNS", "admin\0.evil.example"),)},
        {"subjectAltName": (("URI", "urn:\0"),)},
    ],
)
def test_a_null_character(decoded: Any) -> None:
    """P7: what reads names up to it would take it for somebody else."""
    with pytest.raises(CertificateError, match="null character"):
        certificate_of(decoded)


@pytest.mark.parametrize("year", [2030, 2049, 2050, 2199])
@pytest.mark.parametrize("names", [(), ("a.example",), ("A.example", "*.b.example")])
def test_our_own(tmp_path: Path, year: int, names: tuple[str, ...]) -> None:
    """As another implementation writes it; from 2050 on times have another form."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = datetime.datetime(year, 7, 1, 12, 30, 15, tzinfo=datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        alternative = x509.SubjectAlternativeName(
            [x509.RFC822Name("a@b.example"), *(x509.DNSName(one) for one in names)]
        )
        builder = builder.add_extension(alternative, critical=len(names) > 1)
    path = tmp_path / "own.crt"
    text = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(b"# what people write before it\n" + text + text)
    own = read_own(path)
    assert own.not_after == end.timestamp()
    assert own.names == tuple(one.lower() for one in names)
    assert own.days_left(end.timestamp() - 86_400) == 1
    # However it is cut: an error that says so, or the same.
    der = x509.load_pem_x509_certificate(text).public_bytes(serialization.Encoding.DER)
    for size in range(len(der)):
        path.write_text(_pem(der[:size]))
        with pytest.raises(ValueError, match="cannot be read"):
            read_own(path)


def _pem(der: bytes) -> str:
    import ssl

    return ssl.DER_cert_to_PEM_cert(der)


def test_our_own_by_trustme(authority: Authority) -> None:
    own = read_own(authority.folder / "server.crt")
    assert own.names == ("localhost",)


@pytest.mark.parametrize("text", ["", "hello", "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----"])
def test_no_certificate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(ValueError, match="there is no certificate in it"):
        read_own(path)
