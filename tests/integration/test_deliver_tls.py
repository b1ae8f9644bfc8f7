"""The worker's sender, over TLS, with the authority that `TOWLINE_WEBHOOK_CA_FILE` names."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from shared.services import Services
from shared.webhooks.deliveries import Delivery
from tests.factories import Factory
from tests.receiver import Receiver
from worker.deliver import Deliverer
from worker.watch import Drain


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_receiver_s_certificate_is_checked_against_the_file_of_the_settings(
    build: Callable[..., Services], tmp_path: Path, is_trusted: bool
) -> None:
    authority, another = trustme.CA(), trustme.CA()
    (authority if is_trusted else another).cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        services = build(
            webhook_networks="127.0.0.0/8",
            webhook_ports=str(receiver.port),
            webhook_ca_file=tmp_path / "ca.pem",
        )
        make = Factory(services)
        account = make.account()
        make.endpoint(account, url=receiver.url())
        make.ended(account)
        Deliverer(services, Drain(), linger_s=0).deliver()
        (delivery,) = _log(services, account)
        assert (delivery.attempts[0].http_status == 204) is is_trusted
        assert len(receiver.received) == int(is_trusted)


def _log(services: Services, account: str) -> list[Delivery]:
    return services.webhooks.deliveries.page(account, limit=10)
