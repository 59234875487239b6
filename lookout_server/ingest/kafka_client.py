"""The consumer of aiokafka, set up from the configuration."""

from __future__ import annotations

import ssl
from typing import Any

from ..config import ServerConfig

#: A rebalance waits for a member to finish for so long.
REBALANCE_SECONDS = 30.0
#: What else is asked of a broker waits behind a fetch.
_FETCH_WAIT_MS = 100
_FETCH_BYTES = 16 * 2**20
_PARTITION_FETCH_BYTES = 2 * 2**20
_NEW_PARTITIONS_SECONDS = 5.0
_DAY_MS = 86_400_000


def consumer(config: ServerConfig, instance: str) -> Any:
    """A consumer that is not started. ``instance`` makes it a static member of the group.

    A static member that comes back within the session timeout, after a crash too, has its
    partitions again, and nobody else took what it had not committed.
    Raises as :func:`security`.
    """
    import aiokafka

    session_ms = round(config.kafka_session_timeout * 1000)
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=config.kafka_bootstrap_servers,
        client_id=instance,
        group_id=config.kafka_group_id,
        group_instance_id=instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=max(100, min(3_000, session_ms // 5)),
        rebalance_timeout_ms=round(REBALANCE_SECONDS * 1000),
        # Not to fetch for long is how back-pressure looks, not a failure.
        max_poll_interval_ms=_DAY_MS,
        metadata_max_age_ms=round(_NEW_PARTITIONS_SECONDS * 1000),
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        fetch_max_bytes=_FETCH_BYTES,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        **security(config),
    )


def security(config: ServerConfig) -> dict[str, Any]:
    """The consumer's options for TLS and SASL.

    Raises ValueError where one is missing, OSError (ssl.SSLError too) for unusable TLS files.
    """
    options: dict[str, Any] = {"security_protocol": config.kafka_security_protocol}
    if config.kafka_security_protocol.startswith("SASL_"):
        password = config.kafka_sasl_password
        if not config.kafka_sasl_username or password is None:
            raise ValueError("SASL needs kafka_sasl_username and kafka_sasl_password")
        options["sasl_mechanism"] = config.kafka_sasl_mechanism
        options["sasl_plain_username"] = config.kafka_sasl_username
        options["sasl_plain_password"] = password.get_secret_value()
    if config.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(config)
    return options


def _tls(config: ServerConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.kafka_tls_ca)
    if config.kafka_tls_cert is not None:
        context.load_cert_chain(config.kafka_tls_cert, config.kafka_tls_key)
    return context
