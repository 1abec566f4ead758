# Installs what scripts of ours need: read by them with `source`.

note() { printf '%s: %s\n' "$0" "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# Installs packages of the system, where that can be done without asking for a password.
system_packages() {
  local as_root=()
  has apt-get || { note "no apt-get here, so $* cannot be installed"; return 1; }
  if [ "$(id -u)" -ne 0 ]; then
    { has sudo && sudo -n true 2>/dev/null; } || { note "installing $* needs root"; return 1; }
    as_root=(sudo -n)
  fi
  if [ -z "${lists_are_fresh:-}" ]; then
    "${as_root[@]}" apt-get update -qq || return 1
    lists_are_fresh=1
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}
