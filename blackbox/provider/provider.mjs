// An OpenID Provider for black-box tests: oidc-provider with users and its own login page, consent page and logout
// page, so that a scripted visitor and a browser see real pages. Everything is stored in memory.
//
//     node provider.mjs config.json
//
// The configuration:
//
//     issuer               what the browser has in front of every path, such as "http://127.0.0.1:4000"
//     port                 the loopback port to listen on
//     tls                  {"cert": file, "key": file}; without it plain http
//     clients              client metadata as RFC 7591 names it
//     users                [{"login", "password", "claims": {"sub", ...}}]
//     claimsInIDToken      true: claims of scopes are in the ID Token too, not only in userinfo
//     alwaysRefreshToken   true: a refresh token also without offline_access
//     rotateRefreshToken   true: every refresh token can be used once
//     ttl                  seconds by token, such as {"AccessToken": 60}
//     refreshedTTL         lifetime in seconds of an access token from a refresh; without it that of ttl
//     dpopNonces           true: DPoP proofs need a nonce
//     requirePushed        true: only pushed authorization requests
//     fapi                 true: the rules of FAPI 2.0, and ES256
//     requestObjects       true: signed and encrypted authorization requests
//     resources            services that access tokens may be for
//     register             true: prompt=create shows a page to register, which logs a user in
//     watched              true: GET /watch reports the refreshes and the access tokens
//
// It prints "ready ISSUER" once it listens and ends on SIGTERM.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

import { errors, interactionPolicy, Provider } from 'oidc-provider';

import { Records, watch, watchRefreshes } from './records.mjs';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const users = new Map(config.users.map((user) => [user.login, user]));
const provider = new Provider(config.issuer, providerConfiguration());
watchRefreshes(provider);

const serve = provider.callback();
const handler = (req, res) => {
  if (config.watched && req.url === '/watch') {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify(watch));
    return;
  }
  const step = /^\/interaction\/[^/?]+(?:\/(login|consent|abort))?$/.exec(req.url);
  if (!step) {
    serve(req, res);
    return;
  }
  interact(req, res, step[1]).catch((err) => {
    page(res, 400, 'That did not work', `<p>${escape(err.message)}</p>`);
  });
};

const server = config.tls
  ? https.createServer({
    cert: readFileSync(config.tls.cert), key: readFileSync(config.tls.key), requestCert: true, rejectUnauthorized: false,
  }, handler)
  : http.createServer(handler);
server.listen(config.port, '127.0.0.1', () => console.log(`ready ${config.issuer}`));
process.on('SIGTERM', () => process.exit(0));

function providerConfiguration() {
  return {
    adapter: Records,
    clients: config.clients,
    fetch: (url, { dispatcher, ...options }) => fetch(url, options), // without the dispatcher, which refuses loopback addresses
    jwks: { keys: [signingKey(), ...(config.requestObjects ? [encryptionKey()] : [])] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    findAccount,
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    conformIdTokenClaims: !config.claimsInIDToken,
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}`, policy: policy() },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: true, logoutSource, postLogoutSuccessSource },
      backchannelLogout: { enabled: true },
      revocation: { enabled: true },
      jwtResponseModes: { enabled: true },
      jwtUserinfo: { enabled: true },
      encryption: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => Boolean(config.dpopNonces) },
      claimsParameter: { enabled: true },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: Boolean(config.requirePushed) },
      requestObjects: { enabled: Boolean(config.requestObjects) },
      fapi: { enabled: Boolean(config.fapi), profile: '2.0' },
      resourceIndicators: { enabled: Boolean(config.resources), getResourceServerInfo },
      mTLS: {
        enabled: Boolean(config.tls),
        certificateBoundAccessTokens: true,
        selfSignedTlsClientAuth: true,
        tlsClientAuth: true,
        getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate(),
        certificateAuthorized: () => true, // any authority will do: the subject is compared
        certificateSubjectMatches: (ctx, property, expected) =>
          ctx.req.socket.getPeerX509Certificate().subject === expected,
      },
    },
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'HS256'],
      userinfoSigningAlgValues: ['RS256', 'HS256'],
      authorizationSigningAlgValues: ['RS256', 'HS256'],
    },
    responseTypes: ['code', 'code id_token', 'id_token'],
    ...(config.fapi && {
      enabledJWA: {
        idTokenSigningAlgValues: ['ES256'], userinfoSigningAlgValues: ['ES256'],
        authorizationSigningAlgValues: ['ES256'], requestObjectSigningAlgValues: ['ES256'],
      },
    }),
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none',
      ...(config.tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
    ],
    pkce: { required: () => true },
    rotateRefreshToken: Boolean(config.rotateRefreshToken),
    ...(config.alwaysRefreshToken && {
      issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    }),
    ttl: {
      AuthorizationCode: 60, Grant: 86400, IdToken: 3600,
      Interaction: 3600, RefreshToken: 86400, Session: 86400, ...config.ttl,
      AccessToken: accessTokenLife,
    },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = html('Something went wrong', `<p>${escape(out.error)}: ${escape(out.error_description ?? '')}</p>`);
    },
  };
}

function signingKey() {
  if (config.fapi) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), alg: 'ES256', use: 'sig' };
  }
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), alg: 'RS256', use: 'sig' };
}

function encryptionKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), use: 'enc' };
}

// policy is that of oidc-provider, with a prompt to register in front if there is one.
function policy() {
  const prompts = interactionPolicy.base();
  if (config.register) {
    prompts.add(new interactionPolicy.Prompt({ name: 'create', requestable: true }), 0);
  }
  return prompts;
}

async function getResourceServerInfo(ctx, resource) {
  if (!config.resources.includes(resource)) {
    throw new errors.InvalidTarget();
  }
  return { scope: '', audience: resource };
}

function accessTokenLife(ctx) {
  const life = config.ttl?.AccessToken ?? 3600;
  return ctx.oidc.params.grant_type === 'refresh_token' ? config.refreshedTTL ?? life : life;
}

async function findAccount(ctx, sub) {
  const user = config.users.find(({ claims }) => claims.sub === sub);
  return user && { accountId: sub, claims: async () => user.claims };
}

// interact shows the page that the current login needs, or processes the form that was sent from it.
async function interact(req, res, step) {
  const interaction = await provider.interactionDetails(req, res);
  if (req.method === 'GET') {
    const show = interaction.prompt.name === 'consent' ? consentPage : loginPage;
    show(res, interaction);
    return;
  }
  if (step === 'abort') {
    await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'the user said no' });
  } else if (step === 'login') {
    await login(req, res, interaction);
  } else {
    await consent(req, res, interaction);
  }
}

async function login(req, res, interaction) {
  const form = new URLSearchParams(await body(req));
  const user = users.get(form.get('login'));
  if (!user || user.password !== form.get('password')) {
    loginPage(res, interaction, 'No such login and password.');
    return;
  }
  const { prompt } = interaction; // create or login
  await provider.interactionFinished(req, res, { [prompt.name]: {}, login: { accountId: user.claims.sub } });
}

async function consent(req, res, interaction) {
  const { params, session, prompt: { details }, grantId } = interaction;
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (details.missingOIDCScope) {
    grant.addOIDCScope(details.missingOIDCScope.join(' '));
  }
  if (details.missingOIDCClaims) {
    grant.addOIDCClaims(details.missingOIDCClaims);
  }
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

async function body(req) {
  const chunks = [];
  for await (const chunk of req) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function loginPage(res, { uid, params, prompt }, fault = '') {
  page(res, fault ? 401 : 200, prompt.name === 'create' ? 'Register' : 'Log in', `
    <p>${escape(fault)}</p>
    <form id="login" method="post" action="/interaction/${uid}/login">
      <label>Login <input name="login" autocomplete="username" required value="${escape(params.login_hint ?? '')}"></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
      <button type="submit">Log in</button>
    </form>${abortForm(uid)}`);
}

function consentPage(res, { uid, params }) {
  page(res, 200, 'Allow', `
    <p>${escape(params.client_id)} asks for: ${escape(params.scope)}</p>
    <form id="consent" method="post" action="/interaction/${uid}/consent">
      <button type="submit">Continue</button>
    </form>${abortForm(uid)}`);
}

function abortForm(uid) {
  return `
    <form id="abort" method="post" action="/interaction/${uid}/abort">
      <button type="submit">No, go back</button>
    </form>`;
}

// logoutSource is the page that asks "log out?". The form is made by oidc-provider and contains its secret.
async function logoutSource(ctx, form) {
  ctx.body = html('Log out?', `
    ${form}
    <button type="submit" form="op.logoutForm" name="logout" value="yes">Yes, log me out</button>
    <button type="submit" form="op.logoutForm">No, stay logged in</button>`);
}

async function postLogoutSuccessSource(ctx) {
  ctx.body = html('Logged out', '<p>You are logged out.</p>');
}

function page(res, status, title, content) {
  res.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' });
  res.end(html(title, content));
}

function html(title, content) {
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="icon" href="data:,">
    <title>${escape(title)}</title>
  </head>
  <body>
    <h1>${escape(title)}</h1>${content}
  </body>
</html>
`;
}

function escape(text) {
  return String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
