import { hostname, userInfo } from 'node:os';

/** Who works here, as others know them: the user and the machine. A container may run as a user without a name. */
export function whoAmI(): string {
  let user = `user ${process.getuid?.()}`;
  try {
    user = userInfo().username;
  } catch {}
  return `${user}@${hostname()}`;
}
