"""How deep XML is nested, before a library that recurses reads it."""

from xml.parsers import expat

from shared.embedded.engine.faults import corrupt

#: Deeper is an attack or an accident: libraries that call themselves for each level die of it.
MAX_XML_DEPTH = 500


def check_depth(data: bytes) -> None:
    """Raises `Problem` `corrupt-model` for XML nested deeper than `MAX_XML_DEPTH`, or with entities of
    its own. Of broken XML only what comes before the break is looked at: a lenient reader may go on."""
    depth = 0

    def start(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_XML_DEPTH:
            raise corrupt(f"its XML is nested more than {MAX_XML_DEPTH} deep")

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.EntityDeclHandler = _no_entities
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):  # the last is an encoding that it lacks
        return


def _no_entities(*_: object) -> None:
    raise corrupt("its XML declares entities of its own, which no exporter does")
