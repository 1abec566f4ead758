// Plays one scenario in node, and prints what was seen.
//
// Usage: node.js SCENARIO URL VERSION

import mqtt from 'mqtt'
import { play } from './scenarios.js'

const PATIENCE = 20_000 // milliseconds until something that does not come fails the scenario
const [scenario, url, version] = process.argv.slice(2)

setTimeout(() => {
  console.error(`${scenario}: nothing more came`)
  process.exit(1)
}, PATIENCE).unref()
for (const line of await play(scenario, { mqtt, url, version })) console.log(line)
process.exit(0)
