import { statSync } from 'node:fs';
import type { Problem } from '../errors.js';
import { show } from '../problems.js';

/** Where alerts are sent; nowhere, and nothing is looked at, where both are null. */
export interface AlertChannels {
  readonly webhook: { readonly url: string; readonly format: 'json' | 'slack' } | null;
  readonly email: { readonly smtpUrl: string; readonly from: string; readonly to: readonly string[] } | null;
}

/** Where alerts go, of settings that are right each by itself. */
export function alertChannelsOf(data: {
  readonly RONDO_ALERT_WEBHOOK?: string | undefined;
  readonly RONDO_ALERT_WEBHOOK_FORMAT?: 'json' | 'slack' | undefined;
  readonly RONDO_ALERT_EMAIL: readonly string[];
  readonly SMTP_URL?: string | undefined;
  readonly MAIL_FROM?: string | undefined;
}): AlertChannels {
  const { RONDO_ALERT_WEBHOOK: url, RONDO_ALERT_EMAIL: to, SMTP_URL: smtpUrl, MAIL_FROM: from } = data;
  const format = data.RONDO_ALERT_WEBHOOK_FORMAT ?? (url && isSlack(url) ? 'slack' : 'json');
  return {
    webhook: url === undefined ? null : { url, format },
    email: to.length > 0 && smtpUrl && from ? { smtpUrl, from, to } : null,
  };
}

/**
 * Alerts by mail want a server and a sender; send-email is off where one is not set. Where jobs are the user's own these
 * may hold what the user likes.
 */
export function wrongForMail(given: Record<string, string | undefined>): Problem[] {
  const { RONDO_ALERT_EMAIL: to, RONDO_JOBS, SMTP_URL: server = '', MAIL_FROM: from = '', MAIL_TEMPLATES } = given;
  if (!to && RONDO_JOBS) return [];
  const why = to ? ', with RONDO_ALERT_EMAIL' : '';
  const problems: Problem[] = [];
  const unless = (isRight: boolean, where: string, expected: string, got: string) => {
    if (!isRight) problems.push({ where, expected, got });
  };
  const servers = `smtp://[user:password@]host[:587], or smtps://… for TLS from the start${why}`;
  const senders = `the sender, such as rondo@example.com or Rondo <rondo@example.com>${why}`;
  unless(isMailServer(server) || !(to || server), 'SMTP_URL', servers, server ? '(not shown)' : 'nothing');
  unless(isSender(from) || !(to || from), 'MAIL_FROM', senders, from ? show(from) : 'nothing');
  if (MAIL_TEMPLATES && !RONDO_JOBS)
    unless(isFolder(MAIL_TEMPLATES), 'MAIL_TEMPLATES', 'a folder that can be read', show(MAIL_TEMPLATES));
  return problems;
}

export function isMailAddress(text: string): boolean {
  return /^[^\s@<>,]+@[^\s@<>,]+$/.test(text);
}

/** Mattermost and others take Slack's format under addresses of their own: for those the format is set. */
function isSlack(url: string): boolean {
  return /(^|\.)slack\.com$/.test(new URL(url).hostname);
}

function isMailServer(text: string): boolean {
  return URL.canParse(text) && /^smtps?:\/\/[^/]/.test(text);
}

function isSender(text: string): boolean {
  return isMailAddress(/<([^<>]*)>\s*$/.exec(text)?.[1] ?? text) && !/[\r\n]/.test(text);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
