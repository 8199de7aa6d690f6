"""Tests of the prediction service: `python -m unittest ml_api.test_ml_api` in the folder above.

Owns: what each request is answered.
Always: categories come from numbers worked out here, not from the service's code.
Never: uses port 8000. Each test has a service of its own.
"""

from __future__ import annotations

import json
import threading
import unittest
from http.client import HTTPConnection
from uuid import UUID

from ml_api.server import PredictionServer

DOCUMENT = {
    "id": "b9fa6684-502b-4695-8f92-247432ba610d",
    "description": "Weekly grocery shopping at Whole Foods",
    "amount": 100,
    "timestamp": "2023-04-15T14:30:00",
    "merchant": "Whole Foods Market",
    "operation_type": "card_payment",
    "side": "credit",
}


class QuietServer(PredictionServer):
    """Without a line for each request, and with ends that a test waits for."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0)
        self.RequestHandlerClass = type("Quiet", (self.RequestHandlerClass,), {"log_message": lambda *_: None})


class ServiceTest(unittest.TestCase):
    """Each test talks to a service over one connection."""

    def setUp(self) -> None:
        self.server = QuietServer()
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)

    def tearDown(self) -> None:
        self.connection.close()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def asked(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, object]:
        """Sends one request. `body`: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.connection.request(method, path, content, headers or {})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def test_the_request_of_the_document(self) -> None:
        # 0xb9fa6684502b46958f92247432ba610d mod (2**61 - 1) is the hash of the UUID.
        place = 0xB9FA6684502B46958F92247432BA610D % (2**61 - 1) % 15
        assert place == 5
        assert self.asked("POST", "/predict", [DOCUMENT]) == (
            200,
            [{"transaction_id": DOCUMENT["id"], "category": "Transportation"}],
        )

    def test_small_numbers_go_round_the_fifteen_categories(self) -> None:
        rows = [DOCUMENT | {"id": str(UUID(int=number))} for number in range(31)]
        status, answer = self.asked("POST", "/predict", rows)
        assert status == 200
        assert isinstance(answer, list)
        assert [row["transaction_id"] for row in answer] == [row["id"] for row in rows]
        assert [row["category"] for row in answer[:16]] == [
            "Rent",
            "Salary Income",
            "Food",
            "Restaurant",
            "Client Expenses",
            "Transportation",
            "Utilities",
            "Entertainment",
            "Healthcare",
            "Shopping",
            "Travel",
            "Education",
            "Insurance",
            "Investment",
            "Subscriptions",
            "Rent",
        ]
        assert answer[30]["category"] == "Rent"

    def test_no_transactions_have_no_predictions(self) -> None:
        assert self.asked("POST", "/predict", []) == (200, [])

    def test_a_merchant_may_be_null_but_not_missing(self) -> None:
        assert self.asked("POST", "/predict", [DOCUMENT | {"merchant": None}])[0] == 200
        without = {name: value for name, value in DOCUMENT.items() if name != "merchant"}
        status, answer = self.asked("POST", "/predict", [without])
        assert isinstance(answer, dict)
        assert (status, answer["detail"][0]["loc"]) == (422, ["body", 0, "merchant"])

    def test_one_bad_row_refuses_the_call_and_the_answer_says_which(self) -> None:
        for field, value in {
            "id": 7,
            "description": None,
            "amount": "much",
            "timestamp": "yesterday",
            "operation_type": None,
            "side": 5,
        }.items():
            with self.subTest(field=field):
                status, answer = self.asked("POST", "/predict", [DOCUMENT, DOCUMENT | {field: value}, DOCUMENT])
                assert isinstance(answer, dict)
                assert (status, [fault["loc"] for fault in answer["detail"]]) == (422, [["body", 1, field]])

    def test_every_bad_row_is_named(self) -> None:
        status, answer = self.asked("POST", "/predict", [DOCUMENT | {"amount": "x"}, DOCUMENT, DOCUMENT | {"id": "y"}])
        assert isinstance(answer, dict)
        assert status == 422
        assert [fault["loc"] for fault in answer["detail"]] == [["body", 0, "amount"], ["body", 2, "id"]]

    def test_a_body_that_is_no_list_is_refused(self) -> None:
        for body in (b"", b"{", b"[NaN]", b"\xff", json.dumps(DOCUMENT).encode(), b'[{"amount": NaN}]'):
            with self.subTest(body=body):
                assert self.asked("POST", "/predict", body)[0] == 422

    def test_health(self) -> None:
        assert self.asked("GET", "/health") == (200, {"status": "healthy", "version": "1"})

    def test_other_paths_and_methods(self) -> None:
        assert self.asked("GET", "/predict")[0] == 405
        assert self.asked("POST", "/health", b"")[0] == 405
        assert self.asked("GET", "/docs")[0] == 404
        self.connection.request("HEAD", "/health")
        answer = self.connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert self.asked("POST", "/predict", b"[]", {"Content-Length": "99999999999"})[0] == 413
        assert self.asked("POST", "/predict", b"", {"Content-Length": "many"})[0] == 411

    def test_a_connection_serves_many_requests(self) -> None:
        for _ in range(3):
            assert self.asked("POST", "/predict", [DOCUMENT])[0] == 200


if __name__ == "__main__":
    unittest.main()
