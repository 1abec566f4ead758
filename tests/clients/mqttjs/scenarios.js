// Plays one scenario with MQTT.js and prints what its clients saw.
//
// Usage: scenarios.js SCENARIO PORT VERSION, with VERSION one of 3.1, 3.1.1, 5.0. What each scenario does is described
// in ../scenario.rs; whether what was seen is right is decided there too.

import { createHash } from 'node:crypto'
import mqtt from 'mqtt'

const [scenario, port, version] = process.argv.slice(2)
const PATIENCE = 20_000 // milliseconds until something that does not come fails the scenario
const LARGE = 10 * 1024 * 1024
const PROTOCOL = {
  3.1: { protocolId: 'MQIsdp', protocolVersion: 3 },
  '3.1.1': { protocolId: 'MQTT', protocolVersion: 4 },
  '5.0': { protocolId: 'MQTT', protocolVersion: 5 },
}[version]

// What has come, and who waits for more.
class Queue {
  #items = []
  #waiting = []

  put(item) {
    const waiter = this.#waiting.shift()
    if (waiter) waiter(item)
    else this.#items.push(item)
  }

  take() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift())
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}

class Party {
  static async join(name, { session = 'clean', will } = {}) {
    const party = new Party()
    party.name = name
    party.messages = new Queue()
    const options = { ...PROTOCOL, clientId: name, clean: session === 'clean', reconnectPeriod: 0, will }
    if (session !== 'clean' && version === '5.0') options.properties = { sessionExpiryInterval: 3600 }
    const connected = new Promise((resolve, reject) => {
      party.client = mqtt.connect(`mqtt://127.0.0.1:${port}`, options)
      party.client.once('connect', resolve)
      party.client.once('error', reject)
    })
    // A session that is resumed may bring messages at once.
    party.client.on('message', (_topic, _payload, packet) => party.messages.put(packet))
    party.sessionPresent = Number((await connected).sessionPresent)
    return party
  }

  async subscribe(topic, qos) {
    for (const granted of await this.client.subscribeAsync(topic, { qos })) {
      if (granted.qos !== qos) throw new Error(`${this.name} was granted ${granted.qos} for ${topic}`)
    }
  }

  // Publishes, and waits until the broker has acknowledged it.
  async publish(topic, payload, { qos = 1, retain = false, properties } = {}) {
    await this.client.publishAsync(topic, payload, { qos, retain, properties })
  }

  receive() {
    return this.messages.take()
  }

  async report(count) {
    for (let index = 0; index < count; index++) console.log(`${this.name}: ${seen(await this.receive())}`)
  }

  // Sends DISCONNECT.
  async leave() {
    await this.client.endAsync()
  }

  // Drops the connection without a word.
  async cut() {
    const closed = new Promise((resolve) => this.client.once('close', resolve))
    this.client.stream.destroy()
    await closed
  }
}

const seen = ({ topic, qos, retain, payload }) => `${topic} qos=${qos} retain=${Number(retain)} ${payload}`

const scenarios = {
  async 'every-qos'() {
    const reader = await Party.join('reader')
    const writer = await Party.join('writer')
    for (const granted of [0, 1, 2]) await reader.subscribe(`every/+/${granted}`, granted)
    for (const sent of [0, 1, 2]) {
      for (const granted of [0, 1, 2]) await writer.publish(`every/${sent}/${granted}`, `${sent} to ${granted}`, { qos: sent })
    }
    await reader.report(9)
  },

  async retained() {
    const writer = await Party.join('writer')
    await writer.publish('kept/a', 'first', { retain: true })
    await writer.publish('kept/b', 'second', { retain: true })
    const early = await Party.join('early')
    await early.subscribe('kept/#', 1)
    await early.report(2)
    await writer.publish('kept/a', '', { retain: true })
    await early.report(1)
    const late = await Party.join('late')
    await late.subscribe('kept/#', 1)
    await late.report(1)
    await writer.publish('kept/end', 'live')
    await late.report(1)
  },

  async will() {
    const watcher = await Party.join('watcher')
    await watcher.subscribe('wills/#', 1)
    const doomed = await Party.join('doomed', { will: { topic: 'wills/doomed', payload: 'cut off', qos: 1 } })
    const polite = await Party.join('polite', { will: { topic: 'wills/polite', payload: 'never said', qos: 1 } })
    await polite.leave()
    await doomed.cut()
    await watcher.report(1)
    const writer = await Party.join('writer')
    await writer.publish('wills/end', 'live')
    await watcher.report(1)
  },

  async session() {
    let away = await Party.join('away', { session: 'kept' })
    console.log(`present=${away.sessionPresent}`)
    await away.subscribe('session/#', 1)
    await away.leave()
    const writer = await Party.join('writer')
    for (const text of ['one', 'two', 'three']) await writer.publish('session/x', text)
    away = await Party.join('away', { session: 'kept' })
    console.log(`present=${away.sessionPresent}`)
    await away.report(3)
    await away.leave()
    away = await Party.join('away')
    console.log(`present=${away.sessionPresent}`)
  },

  async shared() {
    const together = new Queue()
    for (const name of ['one', 'two']) {
      const member = await Party.join(name)
      member.client.on('message', (_topic, _payload, packet) => together.put(`${name}: ${seen(packet)}`))
      await member.subscribe('$share/crew/jobs/#', 1)
    }
    const writer = await Party.join('writer')
    for (let number = 0; number < 10; number++) await writer.publish(`jobs/${number}`, String(number))
    for (let number = 0; number < 10; number++) console.log(await together.take())
  },

  async properties() {
    const reader = await Party.join('reader')
    const writer = await Party.join('writer')
    await reader.subscribe('props/#', 1)
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 60,
      contentType: 'text/plain',
      responseTopic: 'answers/here',
      correlationData: Buffer.from('c-1'),
      userProperties: { colour: ['red', 'blue'], size: '9' },
    }
    await writer.publish('props/x', 'dressed', { properties })
    const packet = await reader.receive()
    console.log(`reader: ${seen(packet)}`)
    console.log(`format=${Number(packet.properties.payloadFormatIndicator)}`)
    console.log(`expiry=${packet.properties.messageExpiryInterval}`)
    console.log(`content-type=${packet.properties.contentType}`)
    console.log(`response-topic=${packet.properties.responseTopic}`)
    console.log(`correlation-data=${packet.properties.correlationData}`)
    // MQTT.js groups user properties by name: their order between names is not to be had.
    for (const [name, values] of Object.entries(packet.properties.userProperties)) {
      for (const value of [values].flat()) console.log(`user ${name}=${value}`)
    }
  },

  async large() {
    const reader = await Party.join('reader')
    const writer = await Party.join('writer')
    await reader.subscribe('large', 1)
    const sent = Buffer.alloc(LARGE)
    for (let index = 0; index < LARGE; index++) sent[index] = 97 + (index % 23)
    await writer.publish('large', sent)
    const { payload } = await reader.receive()
    console.log(`bytes=${payload.length} sha256=${createHash('sha256').update(payload).digest('hex')}`)
  },
}

setTimeout(() => {
  console.error(`${scenario}: nothing more came`)
  process.exit(1)
}, PATIENCE).unref()
await scenarios[scenario]()
process.exit(0)
