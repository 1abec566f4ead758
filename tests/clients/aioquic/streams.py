"""Speaks MQTT over QUIC with aioquic, and prints what comes, line by line.

Usage: streams.py SCENARIO PORT AUTHORITY, with AUTHORITY the certificate that the broker's is signed with. What must have
been seen is decided in ../aioquic.rs. The packets are written and read by hand: what is tested is QUIC.
"""

import asyncio
import ssl
import sys

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamDataReceived, StreamReset

PATIENCE = 20  # seconds until something that does not come fails the scenario

CONNECT = bytes([0x10, 14, 0, 4, *b"MQTT", 4, 2, 0, 60, 0, 2, *b"aq"])
SUBSCRIBE = bytes([0x82, 6, 0, 1, 0, 1, *b"#", 1])
DISCONNECT = bytes([0xE0, 0])


def publish(topic, qos, packet_id, payload):
    body = bytes([0, len(topic)]) + topic.encode() + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    assert len(body) < 16384
    return bytes([0x30 | qos << 1, 0x80 | len(body) & 0x7F, len(body) >> 7]) + body


class Client(QuicConnectionProtocol):
    """A queue of packets for each stream; what happens otherwise is a text in the same queue."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.streams = {}
        self.partial = {}

    def queue(self, stream):
        return self.streams.setdefault(stream, asyncio.Queue())

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            data = self.partial.get(event.stream_id, b"") + event.data
            while len(data) >= 2:
                assert data[1] < 0x80, "only short packets are expected"
                end = 2 + data[1]
                if len(data) < end:
                    break
                self.queue(event.stream_id).put_nowait(describe(data[:end]))
                data = data[end:]
            self.partial[event.stream_id] = data
            if event.end_stream:
                self.queue(event.stream_id).put_nowait("end")
        elif isinstance(event, StreamReset):
            self.queue(event.stream_id).put_nowait(f"reset {event.error_code:#x}")
        elif isinstance(event, StopSendingReceived):
            self.queue(event.stream_id).put_nowait(f"stop {event.error_code:#x}")
        elif isinstance(event, ConnectionTerminated):
            self.queue("connection").put_nowait(f"closed {event.error_code:#x}")

    def open(self, unidirectional=False):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        # It counts as taken from the first byte on.
        self._quic.send_stream_data(stream, b"")
        return stream

    def send(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def send_datagram(self, data):
        self._quic.send_datagram_frame(data)
        self.transmit()

    async def receive(self, name, stream, count=1):
        for _ in range(count):
            print(f"{name}: {await asyncio.wait_for(self.queue(stream).get(), PATIENCE)}", flush=True)


def describe(packet):
    names = {2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 7: "PUBCOMP", 9: "SUBACK"}
    kind = packet[0] >> 4
    if kind == 3:
        topic_end = 4 + packet[3]
        payload = packet[topic_end + (2 if packet[0] & 6 else 0):]
        return f"PUBLISH {packet[4:topic_end].decode()} {payload.decode()}"
    return f"{names[kind]} {packet[2:].hex()}"


async def one_stream(client):
    control = client.open()
    client.send(control, CONNECT)
    await client.receive("control", control)
    client.send(control, SUBSCRIBE)
    await client.receive("control", control)
    client.send(control, publish("a", 0, 0, b"x"))
    await client.receive("control", control)
    client.send(control, publish("a", 2, 5, b"y"))
    await client.receive("control", control)
    client.send(control, bytes([0x62, 2, 0, 5]))
    await client.receive("control", control, 2)
    client.send(control, DISCONNECT, end=True)
    await client.receive("control", control)
    await client.receive("connection", "connection")


async def data_streams(client):
    control = client.open()
    client.send(control, CONNECT)
    await client.receive("control", control)
    plain, flow = client.open(), client.open()
    client.send(flow, bytes([0x12, 0x02, 0x40, 0x3C, 0x00]))
    client.send(flow, publish("a", 1, 7, b"x"))
    await client.receive("flow", flow)
    client.send(plain, publish("a", 1, 8, b"x"))
    await client.receive("plain", plain)
    one_way = client.open(unidirectional=True)
    client.send(one_way, bytes([0x12, 0x04, 0x00, 0x00]) + publish("a", 1, 9, b"x"), end=True)
    await client.receive("control", control)
    # Half of a packet here does not hold up what is there.
    message = publish("a", 2, 10, b"x" * 100)
    client.send(plain, message[:50])
    client.send(flow, publish("a", 1, 11, b"x"))
    await client.receive("flow", flow)
    client.send(plain, message[50:])
    await client.receive("plain", plain)
    client.send(plain, bytes([0x62, 2, 0, 10]), end=True)
    await client.receive("plain", plain, 2)
    wrong = client.open(unidirectional=True)
    client.send(wrong, bytes([0x13, 0x01, 0x00, 0x00]))
    await client.receive("wrong", wrong)
    client.send(control, DISCONNECT, end=True)
    await client.receive("control", control)
    await client.receive("connection", "connection")


async def subscriptions(client):
    control = client.open()
    client.send(control, CONNECT)
    await client.receive("control", control)
    data = client.open()
    client.send(data, SUBSCRIBE)
    await client.receive("data", data)
    client.send(control, publish("a", 0, 0, b"x"))
    await client.receive("data", data)
    client.send(data, b"", end=True)
    await client.receive("data", data)
    client.send(control, publish("a", 0, 0, b"y"))
    await client.receive("control", control)


async def datagrams(client):
    control = client.open()
    client.send(control, CONNECT + SUBSCRIBE)
    await client.receive("control", control, 2)
    client.send_datagram(publish("a", 0, 0, b"x"))
    await client.receive("control", control)


async def main():
    scenario, port, authority = sys.argv[1:]
    configuration = QuicConfiguration(
        alpn_protocols=["mqtt"], server_name="localhost", verify_mode=ssl.CERT_REQUIRED, max_datagram_frame_size=65536
    )
    configuration.load_verify_locations(authority)
    scenarios = [one_stream, data_streams, subscriptions, datagrams]
    play = {scenario.__name__.replace("_", "-"): scenario for scenario in scenarios}[scenario]
    async with connect("127.0.0.1", int(port), configuration=configuration, create_protocol=Client) as client:
        await play(client)


asyncio.run(main())
