// Plays scenarios with MQTT.js, in node and in a browser. What each scenario does is described in ../scenario.rs;
// whether what was seen is right is decided there too.

const LARGE = 10 * 1024 * 1024
const PROTOCOLS = {
  3.1: { protocolId: 'MQIsdp', protocolVersion: 3 },
  '3.1.1': { protocolId: 'MQTT', protocolVersion: 4 },
  '5.0': { protocolId: 'MQTT', protocolVersion: 5 },
}

// MQTT.js itself, the broker's URL, and the version: one of 3.1, 3.1.1, 5.0.
let mqtt, url, version
// What was seen, line by line.
let lines

// Plays one scenario, and returns what its clients saw, line by line.
export async function play(scenario, setting) {
  ;({ mqtt, url, version } = setting)
  lines = []
  await scenarios[scenario]()
  return lines
}

const report = (line) => lines.push(line)

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

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
    const options = { ...PROTOCOLS[version], clientId: name, clean: session === 'clean', reconnectPeriod: 0, will }
    if (session !== 'clean' && version === '5.0') options.properties = { sessionExpiryInterval: 3600 }
    const connected = new Promise((resolve, reject) => {
      party.client = mqtt.connect(url, options)
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
    for (let index = 0; index < count; index++) report(`${this.name}: ${seen(await this.receive())}`)
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
    report(`present=${away.sessionPresent}`)
    await away.subscribe('session/#', 1)
    await away.leave()
    const writer = await Party.join('writer')
    for (const text of ['one', 'two', 'three']) await writer.publish('session/x', text)
    away = await Party.join('away', { session: 'kept' })
    report(`present=${away.sessionPresent}`)
    await away.report(3)
    await away.leave()
    away = await Party.join('away')
    report(`present=${away.sessionPresent}`)
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
    for (let number = 0; number < 10; number++) report(await together.take())
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
      correlationData: new TextEncoder().encode('c-1'),
      userProperties: { colour: ['red', 'blue'], size: '9' },
    }
    await writer.publish('props/x', 'dressed', { properties })
    const packet = await reader.receive()
    report(`reader: ${seen(packet)}`)
    report(`format=${Number(packet.properties.payloadFormatIndicator)}`)
    report(`expiry=${packet.properties.messageExpiryInterval}`)
    report(`content-type=${packet.properties.contentType}`)
    report(`response-topic=${packet.properties.responseTopic}`)
    report(`correlation-data=${packet.properties.correlationData}`)
    // MQTT.js groups user properties by name: their order between names is not to be had.
    for (const [name, values] of Object.entries(packet.properties.userProperties)) {
      for (const value of [values].flat()) report(`user ${name}=${value}`)
    }
  },

  async large() {
    const reader = await Party.join('reader')
    const writer = await Party.join('writer')
    await reader.subscribe('large', 1)
    const sent = new Uint8Array(LARGE)
    for (let index = 0; index < LARGE; index++) sent[index] = 97 + (index % 23)
    await writer.publish('large', sent)
    const { payload } = await reader.receive()
    report(`bytes=${payload.length} sha256=${await sha256(payload)}`)
  },
}
