/** Who is here: what the chat tells of sessions and the server of connections, put together by user. */
export class People {
  #sessions = new Map();
  #connections = [];
  #leaving = [];

  /** @param {object} item Of `watchSessions`. */
  takeSessions(item) {
    if (item.snapshot) this.#sessions.clear();
    for (const session of item.sessions) this.#sessions.set(session.conversationId, session);
    for (const conversation of item.gone) this.#sessions.delete(conversation);
  }

  /** @param {object} view Of `Operations/watch`. */
  takeView(view) {
    this.#connections = view.connections;
    this.#leaving = view.leaving;
  }

  /**
   * @typedef {object} Person One session, or a user who has none.
   * @property {string} key
   * @property {string} userId
   * @property {?object} session
   * @property {object[]} connections Those that are known; `count` may be more.
   * @property {number} count
   * @property {?string} waitingFor
   * @property {?string} waitingUntil
   * @property {string} since
   * @property {?string} lastActivity
   */

  /** @returns {Person[]} In no order. */
  rows() {
    const byUser = Map.groupBy(this.#connections, ({ userId }) => userId);
    const people = [];
    const users = new Set();
    const sessions = [...this.#sessions.values()].sort((one, other) => other.isActive - one.isActive);
    for (const session of sessions) {
      const { userId } = session;
      // The connections are the newest session's; one that waits for its archive has none.
      const connections = users.has(userId) ? [] : (byUser.get(userId) ?? []);
      const count = users.has(userId) ? 0 : (session.connections ?? connections.length);
      users.add(userId);
      people.push({
        key: session.conversationId,
        userId,
        session,
        connections,
        count: Math.max(count, connections.length),
        waitingFor: session.waitingFor,
        waitingUntil: session.waitingUntil,
        since: session.startedAt,
        lastActivity: session.lastActivity,
      });
    }
    for (const [userId, connections] of byUser) {
      if (users.has(userId)) continue;
      users.add(userId);
      const since = connections.map((each) => each.since).sort()[0];
      people.push(person(userId, { connections, count: connections.length, since }));
    }
    for (const { userId, since, until } of this.#leaving) {
      if (users.has(userId)) continue;
      people.push(person(userId, { since, waitingFor: "grace", waitingUntil: until }));
    }
    return people;
  }
}

/** Somebody without a session. */
function person(userId, { connections = [], count = 0, since, waitingFor = null, waitingUntil = null }) {
  const key = `user:${userId}`;
  return { key, userId, session: null, connections, count, waitingFor, waitingUntil, since, lastActivity: null };
}
