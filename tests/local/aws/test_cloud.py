"""Moto behind its endpoint."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from werkzeug.routing import BaseConverter, Map, Rule

from local.aws.cloud import Cloud


def test_two_services_asked_for_the_first_time_have_their_routes_compiled_one_after_the_other() -> None:
    amid, second = threading.Event(), threading.Event()
    overlaps = []

    class Part(BaseConverter):
        """Made amid a compilation."""

        def __init__(self, routes: Map) -> None:
            super().__init__(routes)
            if amid.is_set():
                second.set()
                return
            amid.set()
            overlaps.append(second.wait(0.2))

    def compiled() -> Map:
        return Map([Rule("/of/<part:name>")], converters={"part": Part})

    with Cloud(), ThreadPoolExecutor(1) as thread:
        one = thread.submit(compiled)
        assert amid.wait(10)
        compiled()
        one.result()

    assert second.is_set()
    assert overlaps == [False]
