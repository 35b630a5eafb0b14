# ./dev demo: two simulated engines behind a gateway, on the loopback interface. All of it lives in build/demo.

demo_dir=build/demo
demo_model=llama-3-8b

taken() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
# The first free port from the wanted one on that is not among those dealt out already.
declare -A dealt=()
free_port() { # WANTED VARIABLE
  local candidate=$1
  while [ -n "${dealt[$candidate]:-}" ] || taken "$candidate"; do
    candidate=$((candidate + 1))
    [ $candidate -lt $(($1 + 200)) ] || fail "no free port from $1 on" "end what listens there: ss -ltnp"
  done
  dealt[$candidate]=1
  printf -v "$2" '%s' "$candidate"
}

# Ends what the pid file names, and only if it is still a tidegate: a number may be another process's by now.
demo_stop() {
  local pid name waited
  [ -f $demo_dir/pids ] || return 1
  while read -r pid name; do
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in */bin/tidegate*) ;; *) continue ;; esac
    kill "$pid" 2>/dev/null || continue
    for waited in $(seq 100); do
      [ -d "/proc/$pid" ] || break
      sleep 0.1
    done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  done < <(tac $demo_dir/pids)
  rm -f $demo_dir/pids
}

demo_start() { # NAME ARGUMENT...
  local name=$1
  shift
  setsid build/release/bin/tidegate "$@" > "$demo_dir/$name.log" 2>&1 < /dev/null &
  echo "$! $name" >> $demo_dir/pids
}

# Until the URL answers 200. A process that has ended meanwhile, or twenty seconds, is a failure.
demo_wait() { # NAME URL
  local tries pid
  pid=$(sed -n "s/ $1\$//p" $demo_dir/pids)
  for tries in $(seq 200); do
    [ "$(curl -s -o /dev/null -m 2 -w '%{http_code}' "$2")" != 200 ] || return 0
    if [ ! -d "/proc/$pid" ]; then
      tail -n 20 "$demo_dir/$1.log" >&2
      fail "$1 ended at once (log: $demo_dir/$1.log)" "what it says above is the reason; the configuration is $demo_dir/tidegate.yaml"
    fi
    sleep 0.1
  done
  tail -n 20 "$demo_dir/$1.log" >&2
  fail "$1 did not become ready in 20 s: $2" "its log is $demo_dir/$1.log; ./dev demo stop ends what was started"
}

demo_config() {
  cat > $demo_dir/tidegate.yaml << END
server: {listen: "127.0.0.1:$port"}
control: {listen: "127.0.0.1:$control_port"}
metrics: {listen: "127.0.0.1:$metrics_port"}
log: {format: text, access: $root/$demo_dir/access.log}
discovery:
  - plugin: static
    config:
      workers:
        - {url: "http://127.0.0.1:$engine_a", models: [$demo_model]}
        - {url: "http://127.0.0.1:$engine_b", models: [$demo_model]}
routes:
  - match: {model: "*"}
    policy: {plugin: power_of_two}
    fallback: round_robin
END
}

# Sends a chat request and shows the answer's text, then where it went and why: the gateway says so when asked by a header.
demo_chat() { # QUESTION true|false
  local head=$demo_dir/answer.head body=$demo_dir/answer.body status
  local json="{\"model\":\"$demo_model\",\"stream\":$2,\"max_tokens\":24,\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}"
  status=$(curl -sS -N -m 60 -o $body -D $head -w '%{http_code}' "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -H 'X-Tidegate-Route: 1' -d "$json") || fail "the request got no answer" "see $demo_dir/gateway.log"
  if [ "$status" != 200 ]; then
    cat $body >&2
    fail "the gateway answered $status" "see $demo_dir/gateway.log"
  fi
  say "   answer:  $(grep -o '"content":"[^"]*"' $body | sed 's/^"content":"//; s/"$//' | tr -d '\n' | cut -c 1-160)"
  [ "$2" = false ] || say "            ($(grep -c '^data:' $body) events, passed on one by one)"
  local route
  route=$(sed -n 's/^x-tidegate-route: *//Ip' $head | tr -d '\r')
  say "   where:   ${route%%; why=*}"
  say "   why:     ${route##*; why=}"
}

demo_workers() {
  curl -sS -m 10 "$url/workers" | grep -oE '"(url|status)":"[^"]*"' | sed 's/^"[a-z]*":"//; s/"$//' | paste -d ' ' - - |
    sed 's/^/   /'
}

demo() {
  case ${1:-} in
    stop) if demo_stop; then say "ended"; else say "no demo is running"; fi; return ;;
    '') ;;
    *) fail "unknown argument '$1'" "./dev demo, or ./dev demo stop" ;;
  esac
  deps build
  say "building (the first time takes some minutes) ..."
  build_programs release
  mkdir -p $demo_dir
  ! demo_stop || say "ended the demo that was running"
  local port control_port metrics_port engine_a engine_b url
  free_port 30000 port
  free_port 30090 control_port
  free_port 29000 metrics_port
  free_port 9001 engine_a
  free_port $((engine_a + 1)) engine_b
  url=http://127.0.0.1:$port
  demo_config
  build/release/bin/tidegate check --config $demo_dir/tidegate.yaml > $demo_dir/check.log 2>&1 || {
    cat $demo_dir/check.log >&2
    fail "the demo's configuration is refused ($demo_dir/tidegate.yaml)" "this is a mistake of ours; the lines above say which"
  }
  demo_start engine-a engine --listen "127.0.0.1:$engine_a" --model $demo_model --seed 1
  demo_start engine-b engine --listen "127.0.0.1:$engine_b" --model $demo_model --seed 2
  demo_start gateway serve --config $demo_dir/tidegate.yaml
  demo_wait engine-a "http://127.0.0.1:$engine_a/health"
  demo_wait engine-b "http://127.0.0.1:$engine_b/health"
  demo_wait gateway "$url/readiness"
  say
  say "1. A chat request:"
  demo_chat "What does a gateway do?" false
  say
  say "2. The same, streamed:"
  demo_chat "And what does a tide gate do?" true
  say
  say "3. The engines, as the gateway sees them:"
  demo_workers
  cat << END

It goes on running; to try:
  curl $url/v1/chat/completions -H 'Content-Type: application/json' -H 'X-Tidegate-Route: 1' -i -N \\
    -d '{"model":"$demo_model","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
  curl $url/workers                         the engines, and what each is doing
  curl $url/readiness
  curl http://127.0.0.1:$metrics_port/metrics                 Prometheus' metrics
  kill -HUP $(sed -n 's/ gateway$//p' $demo_dir/pids)                                     reload $demo_dir/tidegate.yaml
OpenAI clients: base URL $url/v1, any key. Logs, access log, pids: $demo_dir/
Stop it: ./dev demo stop
END
}
