"""Command lines for Mosquitto's tools and ours: what each of them gets, and nothing about what comes out.

Left out is what 2.0.11 lacks or does wrongly: ``-U`` alone, ``-o``, the payloads of ``rr -s`` and ``rr -f`` (it sends
none), ``--remove-retained -C`` (it does not end), ``--random-filter`` (its percentage is ten times too small).

``{T}`` stands for a topic of the run's own, ``{P}`` for the broker's port, ``{D}`` for a folder of files.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One command line, without the name of the tool."""

    tool: str
    words: str
    stdin: bytes = b""

    #: Words with blanks or nothing in them cannot be cut from ``words``: these stand behind it.
    more: tuple[str, ...] = ()

    #: Without this the broker's address is put in front.
    has_address: bool = False

    #: Messages of QoS 2 published to a durable session "{T}" before the command runs.
    queued: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.tool, self.words, *map(repr, self.more))).strip()


def formats() -> list[Case]:
    """``-F``, each with what it is about."""
    every = [
        "%t %p %l %q %r %m",
        "[%20t][%-20t][%.3t][%6.3t][%-6.3t]",
        "[%8p][%-8p][%08p][%2p]",
        "[%5l][%05l][%-5l]",
        "%x %X [%8x][%-8x][%020X][%3x]",
        "%% @@ \\\\ \\t\\0\\a\\e\\n\\r\\v|",
        "@Y-@m-@d",
        "%j",
        "%A|%C|%D|%F|%P|%R|%S|%5A|%05F|%4C|",
        "plain text",
        "ü %t",
        "",
    ]
    cases = [Case("sub", "-t {T}/a -C 1", more=("-F", text)) for text in every]
    v5 = ["%j", "%C %D %E %F %P %R", "[%12C][%.2C][%12R][%3F][%03F]", "%J"]
    cases += [Case("sub", "-V 5 -t {T}/v5 -C 1", more=("-F", text)) for text in v5]
    cases += [
        Case("sub", "-t {T}/json -C 1 -F %J"),
        Case("sub", "-t {T}/json -C 1 -F %J --pretty"),
        Case("sub", "-V 5 -t {T}/v5 -C 1 -F %j --pretty"),
        Case("sub", "-t {T}/a -C 1 -F %J"),  # no JSON
        Case("sub", "-V 5 -t {T}/v5 -C 1 -D subscribe subscription-identifier 7 -F", more=("%S %4S %04S",)),
        Case("sub", "-t {T}/a -C 1 -N -F %p"),
        Case("sub", "-t {T}/a -C 1 -v -F %p"),
    ]
    cases += [Case("sub", "-t {T}/a -C 1 -F", more=(text,)) for text in ("%", "%z", "%-", "%5", "\\x", "\\", "@")]
    return cases


SUB = [
    Case("sub", "-t {T}/a -C 1"),
    Case("sub", "-t {T}/a -t {T}/json -C 2"),
    Case("sub", "-t {T}/a -C 1 -v"),
    Case("sub", "-t {T}/a -C 1 -N"),
    Case("sub", "-t {T}/a -C 1 -v -N"),
    Case("sub", "-t {T}/+ -T {T}/json -T {T}/v5 -T {T}/utf8 -T {T}/cut -C 1 -v"),
    Case("sub", "-t {T}/# --filter-out {T}/+ -W 1"),
    Case("sub", "-t {T}/utf8 -C 1 -v"),
    Case("sub", "-t {T}/a -W 2 -v"),
    Case("sub", "-t {T}/nothing -W 1"),
    Case("sub", "-t {T}/a -E"),
    Case("sub", "-t {T}/a -t {T}/b -E -q 2"),
    Case("sub", "-t {T}/a -R -W 1"),
    Case("sub", "-V 5 -t {T}/a -R -W 1"),
    Case("sub", "-t {T}/a --retained-only -W 2"),
    Case("sub", "-t {T}/a -t {T}/json --retained-only -C 2 -v"),
    Case("sub", "-t {T}/cut --remove-retained -W 2"),
    Case("sub", "-V 5 -t {T}/a --retain-as-published -C 1 -F %r"),
    Case("sub", "-t {T}/a -U {T}/b -C 1"),
    Case("sub", "-t {T}/a -q 1 -C 1 -F %q%r"),
    Case("sub", "-t {T}/a -q 2 -C 1 -F %q%r"),
    Case("sub", "--topic {T}/a --qos 1 -C 1 --verbose"),
    Case("sub", "-V 31 -t {T}/a -C 1 -i me31"),
    Case("sub", "-V mqttv311 -t {T}/a -C 1"),
    Case("sub", "-V mqttv5 -t {T}/a -C 1"),
    Case("sub", "--protocol-version 5 -x 60 -i {T} -t {T}/a -C 1"),
    Case("sub", "-c -i {T} -q 2 -t {T}/live -C 2 -v", queued=(b"one", b"two")),
    Case("sub", "-c -i {T} -q 2 -t {T}/live -C 3", more=("-F", "%p %q %r"), queued=(b"1", b"", b"3")),
    Case("sub", "-V 5 -c -i {T} -q 1 -t {T}/live -C 1", queued=(b"one", b"two")),
    Case("sub", "-c -i {T} -q 2 -t {T}/live --retained-only -C 1", queued=(b"not retained",)),
    Case("sub", "-t {T}/a -C 1 -u name -P secret -k 10 --nodelay -A 127.0.0.1"),
    Case("sub", "-t {T}/a -C 1 -I prefix --quiet"),
    Case("sub", "-t {T}/a -C 1 --will-topic {T}/w --will-payload bye --will-qos 1 --will-retain"),
    Case("sub", "-V 5 -t {T}/a -C 1 --will-topic {T}/w -D will will-delay-interval 5 -D connect receive-maximum 5"),
    Case("sub", "-d -i me -t {T}/a -C 1 -q 1"),
    Case("sub", "-d -i me2 -t {T}/none -t {T}/neither -E"),
    Case("sub", "-L mqtt://localhost:{P}/{T}/a -C 1", has_address=True),
    Case("sub", "-L mqtt://name:word@127.0.0.1:{P}/{T}/a -t {T}/json -C 2", has_address=True),
    Case("sub", "-p {P} -h 127.0.0.1 -t {T}/a -C 1", has_address=True),
]

PUB = [
    Case("pub", "-t {T} -m hello"),
    Case("pub", "--topic {T} --message hello --qos 1"),
    Case("pub", "-t {T} -m", more=("",)),
    Case("pub", "-t {T} -m", more=("two words ü",)),
    Case("pub", "-t {T} -m -5"),
    Case("pub", "-t {T} -m -q -q 1"),
    Case("pub", "-m x -t {T}/-t"),
    Case("pub", "-q 1 -q 2 -t {T} -m first -t {T}/second"),
    Case("pub", "-t {T} -n"),
    Case("pub", "-t {T} -n -r -q 1"),
    Case("pub", "-t {T} -m kept -r -q 2"),
    Case("pub", "-t {T} -q 2 -m x -V 31"),
    Case("pub", "-t {T} -q 2 -m x -V 5"),
    Case("pub", "-t {T} -s", stdin=b"all\nof\n\nit"),
    Case("pub", "-t {T} -s", stdin=b""),
    Case("pub", "-t {T} -l -q 1", stdin=b"one\ntwo\n\nfour"),
    Case("pub", "-t {T} -l", stdin=b"one\ntwo\n"),
    Case("pub", "-t {T} -l", stdin=b""),
    Case("pub", "-t {T} -f {D}/file"),
    Case("pub", "-t {T} -f {D}/empty"),
    Case("pub", "-t {T} -f {D}/missing"),
    Case("pub", "-t {T} -m x --repeat 3 --repeat-delay 0.05"),
    Case("pub", "-t {T} -n --repeat 2 -q 1"),
    Case("pub", "-t {T} -m x --repeat 2.9"),
    Case("pub", "-L mqtt://localhost:{P}/{T}/deep -m x", has_address=True),
    Case("pub", "-L mqtt://127.0.0.1:{P}/{T} -m x -q 1 -r", has_address=True),
    Case("pub", "-t {T} -m x -M 5 --quiet -k 60 -i {T}"),
    Case("pub", "-t {T} -m x -c -i {T}"),
    Case("pub", "-t {T} -m x -x 30 -i {T}"),
    Case("pub", "-t {T} -m x -x ∞ -i {T}"),
    Case("pub", "-d -i me3 -t {T} -m x -q 1"),
    Case("pub", "-d -i me4 -t {T} -m x -q 2 -V 5"),
    Case(
        "pub",
        "-t {T} -m x -D publish user-property a b -D PUBLISH user-property a c -D publish content-type t "
        "-D publish response-topic r/t -D publish correlation-data data -D publish payload-format-indicator 1 "
        "-D publish message-expiry-interval 90000",
    ),
    Case("pub", "-t {T} -m x --property publish payload-format-indicator 0 -D connect user-property n v"),
    Case("pub", "-t {T} -m x -D publish topic-alias 1 --repeat 2"),
    Case("pub", "-t {T} -m x -D disconnect session-expiry-interval 0 -D connect session-expiry-interval 10 -i {T}"),
    Case("pub", "-t {T} -m x --will-topic {T}/w --will-payload bye -D will content-type c"),
]

RR = [
    Case("rr", "-t {T}/request -e {T}/response -m question -W 5"),
    Case("rr", "-t {T}/request -e {T}/response -m question -v -W 5"),
    Case("rr", "-t {T}/request -e {T}/response -m question -F", more=("%t|%p|%D|%q|%C",)),
    Case("rr", "-t {T}/request -e {T}/response -n -W 5"),
    Case("rr", "-t {T}/request -e {T}/response -m question -q 2 -V 311 -W 5"),
    Case("rr", "-t {T}/request -e {T}/response -m q -D publish correlation-data id -W 5 -F", more=("%D %p",)),
    Case("rr", "-t {T}/self -e {T}/self -m echo -V 311 -v -W 5"),
    Case("rr", "-t {T}/self -e {T}/self -n -V 311 -v -W 5"),
    Case("rr", "-t {T}/nobody -e {T}/response -m question -W 1"),
    Case("rr", "-t {T}/request -e {T}/response -m question -N -W 5"),
]

WRONG = [
    Case("sub", ""),
    Case("sub", "-t"),
    Case("sub", "-t a+"),
    Case("sub", "-t {T} --nonsense"),
    Case("sub", "-t {T} -tx"),
    Case("sub", "-t {T} -q 3"),
    Case("sub", "-t {T} -C 0"),
    Case("sub", "-t {T} -W 0"),
    Case("sub", "-t {T} -k 4"),
    Case("sub", "-t {T} -V 4"),
    Case("sub", "-t {T} -T a#"),
    Case("sub", "-t {T} -U +a"),
    Case("sub", "-t {T} -c"),
    Case("sub", "-t {T} -R --retained-only"),
    Case("sub", "-t {T} -i a -I b"),
    Case("sub", "-t {T} -x 1d"),
    Case("sub", "-t {T} -x -2"),
    Case("sub", "-t {T} -m x"),
    Case("sub", "-t {T} --random-filter 0"),
    Case("sub", "-t {T} --will-payload x"),
    Case("sub", "-t {T} --will-topic a/+"),
    Case("sub", "-t {T} --will-qos 3 --will-topic a"),
    Case("sub", "-t {T} --cert {D}/file"),
    Case("sub", "-t {T} --psk 00ff"),
    Case("sub", "-t {T} --proxy http://x"),
    Case("sub", "-t {T} --cafile {D}/missing"),
    Case("sub", "-t {T} -D nonsense content-type x"),
    Case("sub", "-t {T} -D publish nonsense x"),
    Case("sub", "-t {T} -D subscribe content-type x"),
    Case("sub", "-t {T} -D connect receive-maximum 70000"),
    Case("sub", "-t {T} -D connect user-property x"),
    Case("sub", "-L http://x/y"),
    Case("sub", "-L mqtt://host"),
    Case("sub", "-h 127.0.0.1 -p 1 -t x", has_address=True),
    Case("sub", "-p 99999 -t x", has_address=True),
    Case("pub", ""),
    Case("pub", "-m x"),
    Case("pub", "-t {T}"),
    Case("pub", "-t {T} -m x -n"),
    Case("pub", "-t {T} -m x -m y"),
    Case("pub", "-t {T}/# -m x"),
    Case("pub", "-t {T} -v -m x"),
    Case("pub", "-t {T} -m x --repeat 0"),
    Case("pub", "-t {T} -m x --repeat-delay -1"),
    Case("pub", "-h 127.0.0.1 -p 1 -t x -m y", has_address=True),
    Case("pub", "-h 127.0.0.1 -p 1 -t x -m y --quiet", has_address=True),
    Case("rr", "-t {T} -m x"),
    Case("rr", "-t {T} -e r"),
    Case("rr", "-t {T} -e r/# -m x"),
    Case("rr", "-t {T} -e r -l"),
]

EVERY_CASE = [*formats(), *SUB, *PUB, *RR, *WRONG]
