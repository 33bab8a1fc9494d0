// The records of the provider, and what it has observed.

import { createHash } from 'node:crypto';

// watch holds figures for tests: how many refreshes succeeded, by sub; how many failed; how many of those failed
// because the refresh token had been used before; and every access token that was issued, by its hash.
export const watch = { refreshes: {}, refused: {}, reused: {}, tokens: {} };

export function watchRefreshes(provider) {
  provider.on('backchannel.error', (ctx, err, client) => console.error(`back-channel logout at ${client.clientId}: ${err.cause ?? err}`));
  const count = (counts, ctx) => {
    if (ctx.oidc.params?.grant_type === 'refresh_token') {
      const sub = ctx.oidc.entities.Account?.accountId ?? 'nobody';
      counts[sub] = (counts[sub] ?? 0) + 1;
    }
  };
  provider.on('grant.success', (ctx) => count(watch.refreshes, ctx));
  provider.on('grant.error', (ctx, err) => {
    count(watch.refused, ctx);
    if (err.error_detail === 'refresh token already used') {
      count(watch.reused, ctx);
    }
  });
}

// Records stores the records of one model. It deletes nothing by itself, while the adapter of oidc-provider deletes
// the oldest after a thousand. oidc-provider checks the expiry of the records it reads.
export class Records {
  #model;
  #byId = new Map();
  #byUid = new Map();
  #byGrant = new Map(); // grant id -> ids

  constructor(model) {
    this.#model = model;
  }

  async upsert(id, payload) {
    this.#byId.set(id, payload);
    if (payload.uid) {
      this.#byUid.set(payload.uid, id);
    }
    if (payload.grantId) {
      this.#byGrant.set(payload.grantId, (this.#byGrant.get(payload.grantId) ?? new Set()).add(id));
    }
    if (this.#model === 'AccessToken') {
      watch.tokens[sha256(id)] = { sub: payload.accountId, exp: payload.exp, aud: payload.aud ?? '' };
    }
  }

  async find(id) {
    return this.#byId.get(id);
  }

  async findByUid(uid) {
    return this.#byId.get(this.#byUid.get(uid));
  }

  async findByUserCode() {
    return undefined; // the device flow is not used
  }

  async consume(id) {
    this.#byId.get(id).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    const payload = this.#byId.get(id);
    this.#byId.delete(id);
    this.#byUid.delete(payload?.uid);
    this.#byGrant.get(payload?.grantId)?.delete(id);
    if (payload && this.#model === 'AccessToken') {
      watch.tokens[sha256(id)].revoked = Date.now() / 1000;
    }
  }

  async revokeByGrantId(grantId) {
    for (const id of [...this.#byGrant.get(grantId) ?? []]) {
      await this.destroy(id);
    }
    this.#byGrant.delete(grantId);
  }
}

function sha256(text) {
  return createHash('sha256').update(text).digest('hex');
}
