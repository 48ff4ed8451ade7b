// The scenarios that test_mqttjs.py runs through MQTT.js: what happened is printed, and judged there.
//
//     node scenarios.cjs NAME '{"port": 1883, "topic": "a/topic", "version": 5, ...}'
//
// One scenario per process. It prints one line of JSON, what its clients saw, and exits with 0. Where anything goes
// wrong (a connection lost that should not be, an error event, the deadline) it prints the reason and exits with 1.
// A scenario that waits for somebody else to publish prints the line "ready" first. Nothing sleeps: to show that
// something does not come, a last message is sent the same way, and what came before it is told.
"use strict";

const { createHash } = require("node:crypto");
const mqtt = require("mqtt");
const mqttPacket = require("mqtt-packet");

const DEADLINE_MS = 15_000;
const QOS = [0, 1, 2];
const HOUR_S = 3600;

/** The scenario's options, as given on the command line. */
const given = JSON.parse(process.argv[3]);
const { topic, version } = given;

/** What is being waited for just now, for the message that tells of a missed deadline. */
const waitingFor = new Set();

function fail(reason) {
    process.stderr.write(`${reason instanceof Error ? reason.stack : reason}\n`);
    process.exit(1);
}

async function waitFor(what, promise) {
    const entry = { what };
    waitingFor.add(entry);
    try {
        return await promise;
    } finally {
        waitingFor.delete(entry);
    }
}

/** What has come and was not taken yet, and whoever waits for the next. */
class Queue {
    constructor(what) {
        this.what = what;
        this.items = [];
        this.takers = [];
    }

    put(item) {
        const taker = this.takers.shift();
        if (taker) taker(item);
        else this.items.push(item);
    }

    async take() {
        if (this.items.length) return this.items.shift();
        return waitFor(this.what, new Promise((resolve) => this.takers.push(resolve)));
    }
}

/** The properties of a message as JSON can hold them: Correlation Data as hexadecimal digits. */
function readable(properties) {
    const shown = { ...properties };
    if (shown.correlationData) shown.correlationData = shown.correlationData.toString("hex");
    return shown;
}

/** One MQTT.js client. Unless `endsAnyhow` is set, losing its connection fails the scenario. */
class Peer {
    static all = [];

    constructor(name, options) {
        this.name = name;
        this.endsAnyhow = false;
        this.leaves = false;
        this.messages = new Queue(`a message for ${name}`);
        this.connacks = new Queue(`CONNACK for ${name}`);
        this.closed = new Queue(`the end of ${name}'s connection`);
        this.sent = [];
        this.byCommand = new Map();
        this.client = mqtt.connect({
            host: given.host,
            port: given.port,
            protocolVersion: version,
            protocolId: version === 3 ? "MQIsdp" : "MQTT",
            clientId: `${given.client}-${name}`.slice(-23),
            reconnectPeriod: 0,
            ...given.transport,
            ...options,
        });
        this.client.on("connect", (connack) => this.connacks.put(connack));
        this.client.on("error", (error) => {
            // What is under way when it ends MQTT.js still acknowledges behind its DISCONNECT, on a closing stream.
            if (!this.leaves) fail(`${name}: ${error.stack}`);
        });
        this.client.on("close", () => {
            if (!this.endsAnyhow) fail(`${name}: the connection was lost`);
            this.closed.put(null);
        });
        this.client.on("message", (fullTopic, payload, packet) => {
            const { qos, retain, dup, properties } = packet;
            this.messages.put({ topic: fullTopic, payload, qos, retain, dup, properties: readable(properties) });
        });
        this.client.on("packetsend", (packet) => this.sent.push(packet));
        // What is on the wire, before MQTT.js handles it packet by packet.
        const parser = mqttPacket.parser({ protocolVersion: version });
        parser.on("packet", (packet) => this.packets(packet.cmd).put(packet));
        this.client.stream.on("data", (data) => parser.parse(data));
        Peer.all.push(this);
    }

    static async connect(name, options = {}) {
        const peer = new Peer(name, options);
        peer.connack = await peer.connacks.take();
        return peer;
    }

    /** The packets of one kind that have come, as the broker wrote them. */
    packets(command) {
        if (!this.byCommand.has(command)) this.byCommand.set(command, new Queue(`${command} for ${this.name}`));
        return this.byCommand.get(command);
    }

    /** Subscribe with one SUBSCRIBE and return the SUBACK's codes, refusals too. */
    subscribe(filters, options = {}) {
        const acknowledged = new Promise((resolve, reject) => {
            this.client.subscribe(filters, options, (error, _granted, suback) => {
                if (suback) resolve(suback.granted);
                else reject(error ?? new Error(`nothing to subscribe to: ${filters}`));
            });
        });
        return waitFor(`SUBACK for ${this.name}`, acknowledged);
    }

    /** Unsubscribe and return the UNSUBACK's codes; older versions have none. */
    async unsubscribe(filters) {
        const unsuback = await waitFor(`UNSUBACK for ${this.name}`, this.client.unsubscribeAsync(filters));
        return unsuback.granted ?? [];
    }

    /** Publish, and wait until it is acknowledged (QoS 0: written). */
    publish(to, payload, options = {}) {
        return waitFor(`${this.name}'s PUBLISH to be acknowledged`, this.client.publishAsync(to, payload, options));
    }

    /** The next message, its payload as text. */
    async receive() {
        const message = await this.messages.take();
        return { ...message, payload: message.payload.toString() };
    }

    /** The messages up to the one with this payload, which is left out. */
    async receiveUntil(last) {
        const received = [];
        for (;;) {
            const message = await this.receive();
            if (message.payload === last) return received;
            received.push(message);
        }
    }

    async receivePayloads(count) {
        const payloads = [];
        while (payloads.length < count) payloads.push((await this.receive()).payload);
        return payloads;
    }

    /** Lose the connection: no DISCONNECT is sent. */
    async drop() {
        this.endsAnyhow = true;
        this.client.stream.destroy();
        await this.closed.take();
    }

    /** Send DISCONNECT (version 5: with these fields) and wait for the end of the connection. */
    async end(fields = {}) {
        this.endsAnyhow = this.leaves = true;
        if (this.client.connected) await waitFor(`${this.name} to end`, this.client.endAsync(false, fields));
    }
}

/** Options of CONNECT for a session that outlives its connection. */
function keptSession(options = {}) {
    if (version < 5) return { clean: false, ...options };
    return { clean: false, ...options, properties: { sessionExpiryInterval: HOUR_S, ...options.properties } };
}

/** Forget the kept session of a peer, whose connection is over. */
async function discard(name) {
    const peer = await Peer.connect(name, { clean: true });
    await peer.end();
}

const numbers = (count) => Array.from({ length: count }, (_, number) => String(number));
const payloadsOf = (messages) => messages.map((message) => message.payload);
const topicsOf = (messages) => messages.map((message) => message.topic);

const scenarios = {
    /** Every QoS published to every QoS subscribed, from each of two clients to the other. */
    async exchange() {
        const one = await Peer.connect("one");
        const other = await Peer.connect("other");
        const seen = { granted: [], received: [] };
        for (const [from, to] of [[one, other], [other, one]]) {
            const filters = QOS.map((qos) => [`${topic}/${to.name}/${qos}`, { qos }]);
            seen.granted.push(await to.subscribe(Object.fromEntries(filters)));
            for (const [name, { qos: subscribed }] of filters) {
                for (const published of QOS) {
                    const payload = Buffer.from([0, published, 255]);
                    await from.publish(name, payload, { qos: published });
                    const message = await to.messages.take();
                    if (!message.payload.equals(payload)) fail(`${payload} came as ${message.payload}`);
                    seen.received.push([to.name, message.topic === name, subscribed, published, message.qos]);
                }
            }
        }
        return seen;
    },

    /** Retained messages: for a later and for a live subscriber, replaced, and cleared. */
    async retained() {
        const publisher = await Peer.connect("publisher");
        const live = await Peer.connect("live");
        const seen = { live: [], later: [], cleared: [] };
        for (const qos of QOS) {
            const name = `${topic}/${qos}`;
            await live.subscribe(name, { qos: 2 });
            for (const payload of ["first", "second"]) {
                await publisher.publish(name, payload, { qos, retain: true });
                const message = await live.receive();
                seen.live.push([message.payload, message.qos, message.retain]);
                const later = await Peer.connect(`later-${qos}-${payload}`);
                await later.subscribe(name, { qos: 2 });
                const stored = await later.receive();
                seen.later.push([stored.payload, stored.qos, stored.retain]);
                await later.end();
            }
            await publisher.publish(name, "", { qos, retain: true });
            seen.live.push([(await live.receive()).payload, qos, false]);
            const after = await Peer.connect(`after-${qos}`);
            await after.subscribe(name, { qos: 2 });
            await publisher.publish(name, "end", { qos: 2 });
            seen.cleared.push(payloadsOf(await after.receiveUntil("end")));
            await live.receiveUntil("end");
        }
        return seen;
    },

    /** The will: sent where a connection is lost, not where it is ended, and in version 5 where that is wanted. */
    async will() {
        const watcher = await Peer.connect("watcher");
        await watcher.subscribe(`${topic}/#`, { qos: 2 });
        const seen = { dropped: [], ended: null, asked: null, retained: null };
        const properties = { contentType: "text/plain", userProperties: { wing: "left", colour: "grey" } };
        const will = (name, fields) => ({
            will: { topic: `${topic}/${name}`, payload: "gone", ...fields, ...(version === 5 ? { properties } : {}) },
        });
        for (const qos of QOS) {
            const lost = await Peer.connect(`lost-${qos}`, will(qos, { qos, retain: qos === 1 }));
            await lost.drop();
            const message = await watcher.receive();
            seen.dropped.push([message.topic.slice(topic.length), message.payload, message.qos, message.properties]);
        }
        const late = await Peer.connect("late");
        await late.subscribe(`${topic}/+`, { qos: 2 });
        await late.publish(`${topic}/end`, "end", { qos: 2 });
        seen.retained = (await late.receiveUntil("end")).map((message) => [message.topic, message.retain]);
        await watcher.receiveUntil("end");
        await late.publish(`${topic}/1`, "", { retain: true });
        await watcher.receive();
        const ending = await Peer.connect("ending", will("ended", { qos: 1 }));
        await ending.end();
        if (version === 5) {
            const asking = await Peer.connect("asking", will("asked", { qos: 1 }));
            await asking.end({ reasonCode: 0x04 });
            seen.asked = (await watcher.receive()).topic;
        }
        await late.publish(`${topic}/end`, "end", { qos: 2 });
        seen.ended = topicsOf(await watcher.receiveUntil("end"));
        return seen;
    },

    /** A session kept over a lost and over an ended connection, what waited for it, and a clean start. */
    async session() {
        const publisher = await Peer.connect("publisher");
        const seen = { present: [], received: [] };
        const name = "sleeper";
        const publishAll = async (round) => {
            for (const qos of [1, 2]) {
                for (const number of numbers(5)) {
                    await publisher.publish(`${topic}/${qos}`, `${round} ${qos} ${number}`, { qos });
                }
            }
        };
        let sleeper = await Peer.connect(name, keptSession());
        seen.present.push(sleeper.connack.sessionPresent);
        await sleeper.subscribe(`${topic}/+`, { qos: 2 });
        for (const leave of ["drop", "end"]) {
            await sleeper[leave]();
            await publishAll(leave);
            sleeper = await Peer.connect(name, keptSession());
            seen.present.push(sleeper.connack.sessionPresent);
            await publisher.publish(`${topic}/2`, "end", { qos: 2 });
            seen.received.push((await sleeper.receiveUntil("end")).map((message) => [message.payload, message.qos]));
        }
        await sleeper.end();
        await publishAll("discarded");
        sleeper = await Peer.connect(name, { clean: true });
        seen.present.push(sleeper.connack.sessionPresent);
        await sleeper.subscribe(`${topic}/end`, { qos: 1 });
        await publishAll("unwanted");
        await publisher.publish(`${topic}/end`, "end", { qos: 1 });
        seen.afterClean = payloadsOf(await sleeper.receiveUntil("end"));
        return seen;
    },

    /** Sender and receiver lose their connections midway, and MQTT.js reconnects and sends again by itself. */
    async reconnect() {
        const { qos } = given;
        const options = keptSession({ reconnectPeriod: 10 });
        const receiver = await Peer.connect("receiver", options);
        await receiver.subscribe(topic, { qos });
        const sender = await Peer.connect("sender", options);
        receiver.endsAnyhow = sender.endsAnyhow = true;
        const refusals = [];
        const sending = numbers(60).map(async (number) => {
            await sender.publish(topic, number, { qos }).catch((error) => refusals.push(error.code ?? error.message));
            if (number === "20") sender.client.stream.destroy();
        });
        const payloads = await receiver.receivePayloads(10);
        receiver.client.stream.destroy();
        const present = [await sender.connacks.take(), await receiver.connacks.take()];
        await Promise.all(sending);
        await sender.publish(topic, "end", { qos });
        payloads.push(...payloadsOf(await receiver.receiveUntil("end")));
        await Promise.all([sender.end(), receiver.end()]);
        await Promise.all([discard("sender"), discard("receiver")]);
        return { present: present.map((connack) => connack.sessionPresent), payloads, refusals };
    },

    /** After UNSUBSCRIBE only what other subscriptions want comes. */
    async unsubscribe() {
        const client = await Peer.connect("client");
        await client.subscribe([`${topic}/a`, `${topic}/b`, `${topic}/c`, `${topic}/end`], { qos: 1 });
        const publishAll = async () => {
            for (const name of ["a", "b", "c"]) await client.publish(`${topic}/${name}`, name, { qos: 1 });
            await client.publish(`${topic}/end`, "end", { qos: 1 });
            return payloadsOf(await client.receiveUntil("end"));
        };
        const before = await publishAll();
        const codes = await client.unsubscribe([`${topic}/a`, `${topic}/c`]);
        return { before, codes, after: await publishAll() };
    },

    /** Which of the topics each of the filters gets. */
    async wildcards() {
        const client = await Peer.connect("client");
        const publisher = await Peer.connect("publisher");
        await client.subscribe(`${topic}/end`, { qos: 1 });
        const seen = {};
        const below = `${topic}/in`;
        for (const filter of given.filters) {
            await client.subscribe(`${below}/${filter}`, { qos: 1 });
            for (const name of given.names) await publisher.publish(`${below}/${name}`, name, { qos: 1 });
            await publisher.publish(`${topic}/end`, "end", { qos: 1 });
            seen[filter] = payloadsOf(await client.receiveUntil("end"));
            await client.unsubscribe(`${below}/${filter}`);
        }
        return seen;
    },

    /** A payload of 1 MB, by its digest. */
    async large() {
        const client = await Peer.connect("client");
        await client.subscribe(topic, { qos: 2 });
        const payload = Buffer.alloc(1_000_000);
        for (let at = 0; at < payload.length; at += 4) payload.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
        const digest = (data) => createHash("sha256").update(data).digest("hex");
        const seen = { sent: digest(payload), received: [] };
        for (const qos of QOS) {
            await client.publish(topic, payload, { qos });
            const message = await client.messages.take();
            seen.received.push([message.qos, message.payload.length, digest(message.payload)]);
        }
        return seen;
    },

    /** Topics, and the filters' levels, in many scripts. */
    async unicode() {
        const client = await Peer.connect("client");
        const received = [];
        for (const name of given.names) {
            await client.subscribe(`${topic}/${name}/+`, { qos: 1 });
            await client.publish(`${topic}/${name}/${name}`, name, { qos: 1 });
            const message = await client.receive();
            received.push([message.topic.slice(topic.length + 1), message.payload]);
            await client.unsubscribe(`${topic}/${name}/+`);
        }
        return received;
    },

    /** 500 messages at each QoS, published without waiting for any acknowledgement, each QoS on a topic of its own. */
    async order() {
        const publisher = await Peer.connect("publisher");
        const receivers = await Promise.all(QOS.map((qos) => Peer.connect(`receiver-${qos}`)));
        await Promise.all(receivers.map((receiver, qos) => receiver.subscribe(`${topic}/${qos}`, { qos })));
        const sending = numbers(500).flatMap((number) =>
            QOS.map((qos) => publisher.publish(`${topic}/${qos}`, number, { qos })),
        );
        const received = await Promise.all(receivers.map((receiver) => receiver.receivePayloads(500)));
        await Promise.all(sending);
        return received;
    },

    /** 50 clients at once: each has a topic of its own and one that all share, and each publishes to both. */
    async many() {
        const clients = await Promise.all(numbers(50).map((number) => Peer.connect(`client-${number}`)));
        await Promise.all(
            clients.map((client) => client.subscribe([`${topic}/own/${client.name}`, `${topic}/all`], { qos: 1 })),
        );
        await Promise.all(
            clients.map(async (client, number) => {
                const next = clients[(number + 1) % clients.length];
                await client.publish(`${topic}/own/${next.name}`, `from ${number}`, { qos: 1 });
                await client.publish(`${topic}/all`, String(number), { qos: 1 });
            }),
        );
        return Promise.all(clients.map((client) => client.receivePayloads(clients.length + 1)));
    },

    /** A second client with the same identifier: what the first is told, and that the second goes on. */
    async takeover() {
        const first = await Peer.connect("same");
        first.endsAnyhow = true;
        const second = await Peer.connect("same");
        await first.closed.take();
        await second.subscribe(topic, { qos: 1 });
        await second.publish(topic, "still here", { qos: 1 });
        const told = first.packets("disconnect").items.map((packet) => packet.reasonCode);
        return { told, received: await second.receivePayloads(1) };
    },

    /** PINGREQ and its answer. */
    async ping() {
        const client = await Peer.connect("client");
        client.client.sendPing();
        return (await client.packets("pingresp").take()).cmd;
    },

    /** Filters refused beside one granted, and what the granted one gets. */
    async refused() {
        const client = await Peer.connect("client");
        const granted = await client.subscribe(given.filters, { qos: 1 });
        await client.publish(topic, "x", { qos: 1 });
        return { granted, received: await client.receivePayloads(1) };
    },

    /** A filter that is none (MQTT.js finds most such itself): what ends the connection before version 5. */
    async noFilter() {
        const client = await Peer.connect("client");
        client.endsAnyhow = true;
        client.client.subscribe("");
        await client.closed.take();
        return { subacks: client.packets("suback").items.length };
    },

    // Version 5 alone.

    /** What CONNACK tells a client that comes without an identifier. */
    async connack() {
        const client = await Peer.connect("client", { clientId: "" });
        return client.connack.properties;
    },

    /** A message's properties, forwarded. */
    async properties() {
        const client = await Peer.connect("client");
        await client.subscribe(topic, { qos: 2 });
        const received = [];
        for (const qos of QOS) {
            const properties = { ...given.properties, correlationData: Buffer.from([0, 1, 254, 255]) };
            await client.publish(topic, "{}", { qos, properties });
            received.push((await client.receive()).properties);
        }
        return received;
    },

    /** A request that names where its response is to go, and which of the responses is its own. */
    async request() {
        const asker = await Peer.connect("asker");
        const responder = await Peer.connect("responder");
        await responder.subscribe(`${topic}/question`, { qos: 1 });
        await asker.subscribe(`${topic}/answer`, { qos: 1 });
        const correlations = ["first", "second"].map((text) => Buffer.from(text));
        for (const correlationData of correlations) {
            const properties = { responseTopic: `${topic}/answer`, correlationData };
            await asker.publish(`${topic}/question`, "how?", { qos: 1, properties });
        }
        for (let left = correlations.length; left > 0; left -= 1) {
            const { properties } = await responder.receive();
            const correlationData = Buffer.from(properties.correlationData, "hex");
            const payload = `so, ${correlationData}`;
            await responder.publish(properties.responseTopic, payload, { qos: 1, properties: { correlationData } });
        }
        const answers = [await asker.receive(), await asker.receive()];
        return answers.map(({ payload, properties }) => [
            payload,
            Buffer.from(properties.correlationData, "hex").toString(),
        ]);
    },

    /** Messages that expire while they wait, retained or for a session; those that do not tell the time left. */
    async expiry() {
        const publisher = await Peer.connect("publisher");
        let sleeper = await Peer.connect("sleeper", keptSession());
        await sleeper.subscribe(`${topic}/queued`, { qos: 1 });
        await sleeper.end();
        const publish = (name, seconds, retain) =>
            publisher.publish(`${topic}/${name}`, name, {
                qos: 1,
                retain,
                properties: { messageExpiryInterval: seconds },
            });
        await publish("queued", 1, false);
        await publish("queued", HOUR_S, false);
        await publish("kept", HOUR_S, true);
        await publish("short", 1, true);
        const published = process.hrtime.bigint();
        const watcher = await Peer.connect("watcher");
        const stored = async (name) => {
            await watcher.subscribe(`${topic}/${name}`, { qos: 1 });
            await watcher.publish(`${topic}/${name}`, "end", { qos: 1 });
            const intervals = (await watcher.receiveUntil("end")).map((m) => m.properties.messageExpiryInterval);
            await watcher.unsubscribe(`${topic}/${name}`);
            return intervals;
        };
        const seen = { intervals: [] };
        // Asked for again and again until it is there no more; then the one in the queue, older, has expired too.
        for (let found; (found = await stored("short")).length; ) seen.intervals.push(...found);
        seen.seconds = Number(process.hrtime.bigint() - published) / 1e9;
        seen.kept = await stored("kept");
        await publisher.publish(`${topic}/kept`, "", { retain: true });
        sleeper = await Peer.connect("sleeper", keptSession());
        await publisher.publish(`${topic}/queued`, "end", { qos: 1 });
        seen.queued = (await sleeper.receiveUntil("end")).map((m) => m.properties.messageExpiryInterval);
        await sleeper.end();
        await discard("sleeper");
        return seen;
    },

    /** Subscription Identifiers, of overlapping subscriptions too. */
    async identifiers() {
        const client = await Peer.connect("client");
        const below = `${topic}/in`;
        await client.subscribe(`${topic}/end`, { qos: 1 });
        await client.subscribe(`${below}/+`, { qos: 1, properties: { subscriptionIdentifier: 7 } });
        await client.subscribe(`${below}/a`, { qos: 0, properties: { subscriptionIdentifier: 268_435_455 } });
        await client.subscribe(`${below}/#`, { qos: 0 });
        const seen = {};
        for (const name of ["a", "b", "b/c"]) {
            await client.publish(`${below}/${name}`, name, { qos: 1 });
            await client.publish(`${topic}/end`, "end", { qos: 1 });
            // One message, or one for each subscription: the specification lets the broker choose.
            const identifiers = [];
            for (;;) {
                const { payload, properties } = await client.receive();
                if (payload === "end") break;
                identifiers.push([properties.subscriptionIdentifier ?? []].flat());
            }
            seen[name] = identifiers;
        }
        return seen;
    },

    /** Aliases that MQTT.js assigns (more topics than the broker takes aliases) or uses once they are set. */
    async aliasesToBroker() {
        const receiver = await Peer.connect("receiver");
        await receiver.subscribe(`${topic}/#`, { qos: 2 });
        const seen = { sent: {}, received: {} };
        const publishAll = async (publisher, topics, properties) => {
            const before = publisher.sent.length;
            for (const name of topics) {
                for (const qos of QOS) await publisher.publish(name, `to ${name}`, { qos, properties });
            }
            const published = publisher.sent.slice(before).filter((packet) => packet.cmd === "publish");
            seen.sent[publisher.name] = published.map((packet) => [packet.topic, packet.properties?.topicAlias]);
            await publisher.publish(topic, "end", { qos: 2 });
            const messages = await receiver.receiveUntil("end");
            seen.received[publisher.name] = messages.map(({ topic: to, payload, qos }) => [to, payload, qos]);
        };
        const assigning = await Peer.connect("assigning", { autoAssignTopicAlias: true });
        seen.maximum = assigning.connack.properties.topicAliasMaximum;
        await publishAll(assigning, numbers(seen.maximum + 8).map((number) => `${topic}/${number}`));
        const using = await Peer.connect("using", { autoUseTopicAlias: true });
        await publishAll(using, [`${topic}/used`], { topicAlias: 2 });
        await publishAll(using, [`${topic}/used`]);
        return seen;
    },

    /**
     * Aliases that the broker chooses, for a client that takes some and for one that takes none. Not at QoS 2: there
     * MQTT.js 5.16 hands out the topic as it was on the wire, which is empty behind an alias.
     */
    async aliasesFromBroker() {
        const publisher = await Peer.connect("publisher");
        const willing = await Peer.connect("willing", { properties: { topicAliasMaximum: given.maximum } });
        const plain = await Peer.connect("plain");
        const topics = numbers(given.maximum * 2).map((number) => `${topic}/${number}`);
        await Promise.all([willing, plain].map((client) => client.subscribe(`${topic}/#`, { qos: 1 })));
        for (const qos of [0, 1]) {
            for (let round = 0; round < 4; round += 1) {
                for (const name of topics) await publisher.publish(name, `to ${name}`, { qos });
            }
        }
        await publisher.publish(topic, "end", { qos: 1 });
        const seen = {};
        for (const client of [willing, plain]) {
            const messages = await client.receiveUntil("end");
            const wire = client.packets("publish").items.filter((packet) => packet.payload.toString() !== "end");
            seen[client.name] = {
                received: messages.map((message) => [message.topic, message.payload]),
                wire: wire.map((packet) => [packet.topic, packet.properties?.topicAlias ?? null]),
            };
        }
        return { topics, ...seen };
    },

    /** Whether a client gets its own messages. */
    async noLocal() {
        const one = await Peer.connect("one");
        const other = await Peer.connect("other");
        await one.subscribe(topic, { qos: 1, nl: true });
        await other.subscribe(topic, { qos: 1, nl: false });
        for (const client of [one, other]) await client.publish(topic, client.name, { qos: 1 });
        await one.subscribe(`${topic}/end`, { qos: 1 });
        await other.subscribe(`${topic}/end`, { qos: 1 });
        await one.publish(`${topic}/end`, "end", { qos: 1 });
        return { one: payloadsOf(await one.receiveUntil("end")), other: payloadsOf(await other.receiveUntil("end")) };
    },

    /** Which retained messages come with a new subscription and with one made again, by Retain Handling. */
    async retainHandling() {
        const publisher = await Peer.connect("publisher");
        await publisher.publish(topic, "kept", { qos: 1, retain: true });
        const seen = [];
        for (const rh of [0, 1, 2]) {
            const client = await Peer.connect(`client-${rh}`);
            await client.subscribe(`${topic}/end`, { qos: 1 });
            const rounds = [];
            for (let round = 0; round < 2; round += 1) {
                await client.subscribe(topic, { qos: 1, rh });
                await publisher.publish(`${topic}/end`, "end", { qos: 1 });
                rounds.push(payloadsOf(await client.receiveUntil("end")));
            }
            seen.push(rounds);
        }
        await publisher.publish(topic, "", { retain: true });
        return seen;
    },

    /** The retain flag of live messages, with and without Retain As Published. */
    async retainAsPublished() {
        const client = await Peer.connect("client");
        const seen = [];
        for (const rap of [false, true]) {
            await client.subscribe(topic, { qos: 1, rap, rh: 2 });
            for (const retain of [false, true]) {
                await client.publish(topic, "x", { qos: 1, retain });
                seen.push([rap, retain, (await client.receive()).retain]);
            }
        }
        await client.publish(topic, "", { qos: 1, retain: true });
        return seen;
    },

    /** Two members of a share group and a subscriber beside it; then one member leaves. */
    async shared() {
        const publisher = await Peer.connect("publisher");
        const beside = await Peer.connect("beside");
        const members = [await Peer.connect("one"), await Peer.connect("two")];
        await beside.subscribe(`${topic}/+`, { qos: 1 });
        for (const member of members) {
            await member.subscribe([`$share/${given.client}/${topic}/+`, `${topic}/end/+`], { qos: 1 });
        }
        const publishAll = async (present) => {
            for (const number of numbers(40)) await publisher.publish(`${topic}/${number % 3}`, number, { qos: 1 });
            await publisher.publish(`${topic}/end/members`, "end", { qos: 1 });
            return Promise.all(present.map(async (member) => payloadsOf(await member.receiveUntil("end"))));
        };
        const both = await publishAll(members);
        await members[0].end();
        const alone = await publishAll([members[1]]);
        return { both, alone, beside: await beside.receivePayloads(80) };
    },

    /** The reason codes that are not failures: nobody to deliver to, nothing to unsubscribe from. */
    async reasonCodes() {
        const client = await Peer.connect("client");
        const seen = { puback: [], pubrec: [] };
        const publishBoth = async () => {
            await client.publish(topic, "x", { qos: 1 });
            seen.puback.push((await client.packets("puback").take()).reasonCode ?? 0);
            await client.publish(topic, "x", { qos: 2 });
            seen.pubrec.push((await client.packets("pubrec").take()).reasonCode ?? 0);
        };
        await publishBoth();
        await client.subscribe(topic, { qos: 1 });
        await publishBoth();
        seen.unsuback = await client.unsubscribe([topic, `${topic}/never`, "$share/no-filter"]);
        return seen;
    },

    /** What the broker says to a client that publishes to a wildcard. */
    async disconnected() {
        const client = await Peer.connect("client");
        client.endsAnyhow = true;
        client.client.publish(`${topic}/#`, "x");
        const { reasonCode, properties } = await client.packets("disconnect").take();
        await client.closed.take();
        return { reasonCode, reasonString: properties?.reasonString ?? "" };
    },

    /** How many messages are ever in flight to a client that takes three and holds its acknowledgements back. */
    async receiveMaximum() {
        const { qos } = given;
        const publisher = await Peer.connect("publisher");
        const options = keptSession({ properties: { receiveMaximum: 3 } });
        const seen = {};
        for (const state of ["live", "resumed"]) {
            const client = new Peer("client", options);
            const unacknowledged = new Set();
            let most = 0;
            const { put } = Queue.prototype;
            const publishes = client.packets("publish");
            publishes.put = function (packet) {
                unacknowledged.add(packet.messageId);
                most = Math.max(most, unacknowledged.size);
                put.call(this, packet);
            };
            client.client.on("packetsend", ({ cmd, messageId }) => {
                if (cmd === "puback" || cmd === "pubcomp") unacknowledged.delete(messageId);
            });
            let release;
            const released = new Promise((resolve) => (release = resolve));
            client.client.handleMessage = (_packet, done) => released.then(() => done());
            await client.connacks.take();
            if (state === "live") {
                await client.subscribe(topic, { qos });
                for (const number of numbers(12)) await publisher.publish(topic, number, { qos });
            }
            for (let taken = 0; taken < 3; taken += 1) await publishes.take();
            // The answer to PINGREQ comes behind all that the broker sent before it.
            client.client.sendPing();
            await client.packets("pingresp").take();
            const held = unacknowledged.size;
            release();
            seen[state] = { payloads: await client.receivePayloads(12), held, most };
            await client.end();
            if (state === "live") {
                for (const number of numbers(12)) await publisher.publish(topic, number, { qos });
            }
        }
        await discard("client");
        return seen;
    },

    /** A message too large for a subscriber is as good as delivered to it; others get it. */
    async maximumPacketSize() {
        const small = await Peer.connect("small", { properties: { maximumPacketSize: 500 } });
        const other = await Peer.connect("other");
        await Promise.all([small, other].map((client) => client.subscribe(topic, { qos: 1 })));
        const payloads = ["before", "x".repeat(600), "after", "end"];
        for (const payload of payloads) await other.publish(topic, payload, { qos: 1 });
        const received = [await small.receiveUntil("end"), await other.receiveUntil("end")];
        return { small: payloadsOf(received[0]), other: payloadsOf(received[1]) };
    },

    /** DISCONNECT that sets the Session Expiry Interval to 0: the session is gone. */
    async expiryAtDisconnect() {
        const seen = [];
        for (const fields of [{}, { properties: { sessionExpiryInterval: 0 } }]) {
            const client = await Peer.connect("client", keptSession());
            await client.end(fields);
            const again = await Peer.connect("client", keptSession());
            seen.push(again.connack.sessionPresent);
            await again.end();
        }
        await discard("client");
        return seen;
    },

    // With other clients.

    /** Publish the given messages. */
    async send() {
        const client = await Peer.connect("sender");
        for (const { to, payload, options } of given.messages) await client.publish(to, payload, options);
        return given.messages.length;
    },

    /** Subscribe, say so, and receive as many messages as the test says. */
    async listen() {
        const client = await Peer.connect("listener");
        await client.subscribe(given.filter, { qos: 2 });
        process.stdout.write("ready\n");
        const messages = [];
        while (messages.length < given.count) messages.push(await client.receive());
        return messages;
    },

    /** Stay, having said so, until the broker says why it ends. */
    async stay() {
        const client = await Peer.connect("guest");
        client.endsAnyhow = true;
        process.stdout.write("ready\n");
        await client.closed.take();
        return client.packets("disconnect").items.map((packet) => packet.reasonCode);
    },
};

async function main() {
    const scenario = scenarios[process.argv[2]];
    if (!scenario) fail(`there is no scenario ${process.argv[2]}`);
    setTimeout(() => {
        const missing = [...waitingFor].map((entry) => entry.what);
        fail(`not there within ${DEADLINE_MS / 1000} s: ${missing.slice(0, 10).join("; ") || "the end"}`);
    }, DEADLINE_MS);
    const seen = await scenario();
    await Promise.all(Peer.all.map((peer) => peer.end()));
    // Only once the line is written: process.exit() does not wait for a pipe.
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
}

process.on("unhandledRejection", fail);
main().catch(fail);
