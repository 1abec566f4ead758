"""Plays one scenario with paho-mqtt and prints what its clients saw.

Usage: scenarios.py SCENARIO PORT VERSION, with VERSION one of 3.1, 3.1.1, 5.0. What each scenario does is described
in ../scenario.rs; whether what was seen is right is decided there too.
"""

import hashlib
import queue
import socket
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 20  # seconds until something that does not come fails the scenario
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}
LARGE = 10 * 1024 * 1024


class Party:
    """A client, with what it is told in queues that can be waited on."""

    def __init__(self, name, session="clean", will=None):
        self.name = name
        self.five = VERSION == mqtt.MQTTv5
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.messages = queue.Queue()
        self.disconnected = queue.Queue()
        options = {} if self.five else {"clean_session": session == "clean"}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=VERSION,
            reconnect_on_failure=False,
            **options,
        )
        self.client.on_connect = lambda _client, _data, flags, code, _properties: self.connected.put((flags, code))
        self.client.on_subscribe = lambda _client, _data, _id, codes, _properties: self.subscribed.put(codes)
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.on_disconnect = lambda *_: self.disconnected.put(True)
        if will:
            self.client.will_set(*will)
        options = {}
        if self.five:
            options["clean_start"] = session == "clean"
            if session != "clean":
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", PORT, keepalive=60, **options)
        self.client.loop_start()
        flags, code = self.connected.get(timeout=PATIENCE)
        if code != 0:
            raise SystemExit(f"{name} was refused: {code}")
        self.session_present = int(flags.session_present)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        for code in self.subscribed.get(timeout=PATIENCE):
            if code != qos:
                raise SystemExit(f"{self.name} was granted {code} for {topic}")

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        """Publishes, and waits until the broker has acknowledged it."""
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE)

    def receive(self):
        return self.messages.get(timeout=PATIENCE)

    def report(self, count):
        for _ in range(count):
            message = self.receive()
            print(f"{self.name}: {seen(message)}")

    def leave(self):
        """Sends DISCONNECT."""
        self.client.disconnect()
        self.disconnected.get(timeout=PATIENCE)
        self.client.loop_stop()

    def cut(self):
        """Drops the connection without a word."""
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.disconnected.get(timeout=PATIENCE)


def seen(message):
    return f"{message.topic} qos={message.qos} retain={int(message.retain)} {message.payload.decode()}"


def every_qos():
    reader, writer = Party("reader"), Party("writer")
    for granted in range(3):
        reader.subscribe(f"every/+/{granted}", granted)
    for sent in range(3):
        for granted in range(3):
            writer.publish(f"every/{sent}/{granted}", f"{sent} to {granted}", sent)
    reader.report(9)


def retained():
    writer = Party("writer")
    writer.publish("kept/a", "first", retain=True)
    writer.publish("kept/b", "second", retain=True)
    early = Party("early")
    early.subscribe("kept/#", 1)
    early.report(2)
    writer.publish("kept/a", "", retain=True)
    early.report(1)
    late = Party("late")
    late.subscribe("kept/#", 1)
    late.report(1)
    writer.publish("kept/end", "live")
    late.report(1)


def will():
    watcher = Party("watcher")
    watcher.subscribe("wills/#", 1)
    doomed = Party("doomed", will=("wills/doomed", "cut off", 1, False))
    polite = Party("polite", will=("wills/polite", "never said", 1, False))
    polite.leave()
    doomed.cut()
    watcher.report(1)
    Party("writer").publish("wills/end", "live")
    watcher.report(1)


def session():
    away = Party("away", session="kept")
    print(f"present={away.session_present}")
    away.subscribe("session/#", 1)
    away.leave()
    writer = Party("writer")
    for text in ("one", "two", "three"):
        writer.publish("session/x", text)
    away = Party("away", session="kept")
    print(f"present={away.session_present}")
    away.report(3)
    away.leave()
    away = Party("away", session="clean")
    print(f"present={away.session_present}")


def shared():
    members = [Party("one"), Party("two")]
    together = queue.Queue()
    for member in members:
        member.client.on_message = lambda _client, _data, message, name=member.name: together.put((name, message))
        member.subscribe("$share/crew/jobs/#", 1)
    writer = Party("writer")
    for number in range(10):
        writer.publish(f"jobs/{number}", str(number))
    for _ in range(10):
        name, message = together.get(timeout=PATIENCE)
        print(f"{name}: {seen(message)}")


def properties():
    reader, writer = Party("reader"), Party("writer")
    reader.subscribe("props/#", 1)
    said = Properties(PacketTypes.PUBLISH)
    said.PayloadFormatIndicator = 1
    said.MessageExpiryInterval = 60
    said.ContentType = "text/plain"
    said.ResponseTopic = "answers/here"
    said.CorrelationData = b"c-1"
    said.UserProperty = [("colour", "red"), ("size", "9"), ("colour", "blue")]
    writer.publish("props/x", "dressed", properties=said)
    message = reader.receive()
    heard = message.properties
    print(f"reader: {seen(message)}")
    print(f"format={heard.PayloadFormatIndicator}")
    print(f"expiry={heard.MessageExpiryInterval}")
    print(f"content-type={heard.ContentType}")
    print(f"response-topic={heard.ResponseTopic}")
    print(f"correlation-data={heard.CorrelationData.decode()}")
    for name, value in heard.UserProperty:
        print(f"user {name}={value}")


def large():
    reader, writer = Party("reader"), Party("writer")
    reader.subscribe("large", 1)
    writer.publish("large", bytes(97 + index % 23 for index in range(LARGE)))
    payload = reader.receive().payload
    print(f"bytes={len(payload)} sha256={hashlib.sha256(payload).hexdigest()}")


SCENARIOS = {
    "every-qos": every_qos,
    "retained": retained,
    "will": will,
    "session": session,
    "shared": shared,
    "properties": properties,
    "large": large,
}

if __name__ == "__main__":
    _, scenario, port, version = sys.argv
    PORT, VERSION = int(port), VERSIONS[version]
    SCENARIOS[scenario]()
