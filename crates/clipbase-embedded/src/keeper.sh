# The keeper: stops the server once nobody uses it any more, however its users ended.
# Arguments: seconds to linger, the cluster's directory.
# Input: the FIFO that every user holds open. Output: the file that says, locked, that a keeper lives.
linger=$1 stopping=$2/stopping starting=$2/starting data=$2/pgdata
pid_file=$data/postmaster.pid

# A signal to the whole group or session must not leave the server without its keeper.
trap '' HUP INT QUIT TERM

# A pid file that outlived its server may name a stranger by now.
is_ours() {
  if [ -d /proc/self ]; then
    [ "/proc/$1/cwd" -ef "$data" ]
  else
    case $(ps -p "$1" -o command= 2>/dev/null) in *"$data"*) ;; *) return 1 ;; esac
  fi
}

echo $$ # for whoever looks into the file

while :; do
  while read -r _; do :; done # ends when the last user is gone
  [ "$linger" = 0 ] || sleep "$linger" </dev/null >/dev/null
  : >"$stopping"
  read -r _ || break # a newcomer has left a line: stay
  rm -f "$stopping"
done

# Its program may have died before the server had written its pid file.
tries=0
while [ -e "$starting" ] && [ ! -s "$pid_file" ] && [ $tries -lt 50 ]; do
  sleep 0.1 </dev/null >/dev/null
  tries=$((tries + 1))
done
if read -r pid _ <"$pid_file" && is_ours "$pid"; then
  kill -INT "$pid" # a fast shutdown: ends sessions, writes everything out
  # Not `pg_ctl stop`, which looks only every 100 ms while the next user may be waiting.
  pause=0.01 looks=0
  while [ -e "$pid_file" ] && is_ours "$pid"; do
    sleep $pause </dev/null >/dev/null
    looks=$((looks + 1))
    [ $looks -lt 50 ] || pause=0.2
  done
fi
# `stopping` stays: who comes next waits until this process is gone, then removes it.
