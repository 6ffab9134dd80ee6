%% The yardstick of scripts/compare-erlang: so many idle processes, in two ways. Each is spawned, has
%% run its start, and waits.
%%
%%   supervised  gen_servers under a simple_one_for_one supervisor, as OTP would have agents
%%   bare        processes that do nothing but wait for a message
%%
%% Prints one line of JSON. A node measures one way at one size, so that none finds another's memory:
%%
%%   erl -noshell -s swarm main supervised 100000
-module(swarm).

-export([main/1, init/1, handle_call/3, handle_cast/2]).

main([Way, Count]) ->
    run(Way, list_to_integer(atom_to_list(Count))),
    init:stop().

run(supervised, Count) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, supervisor),
    measure("supervised", Count, fun() -> children(Supervisor, Count) end, Supervisor);
run(bare, Count) ->
    Started = counters:new(1, [atomics]),
    measure("bare", Count, fun() -> spawn_bare(Started, Count), all(Started, Count) end, self()).

%% start_child returns once the child's init has.
children(_, 0) -> ok;
children(Supervisor, Left) ->
    {ok, _} = supervisor:start_child(Supervisor, [Left, []]),
    children(Supervisor, Left - 1).

spawn_bare(_, 0) -> ok;
spawn_bare(Started, Left) ->
    spawn(fun() -> counters:add(Started, 1, 1), wait(Left) end),
    spawn_bare(Started, Left - 1).

all(Started, Count) ->
    case counters:get(Started, 1) of
        Count -> ok;
        _ -> erlang:yield(), all(Started, Count)
    end.

wait(Number) ->
    receive {ask, From} -> From ! Number, wait(Number) end.

%% The parent's own garbage is not the processes'.
measure(Way, Count, Spawn, Parent) ->
    garbage_collect(),
    {Processes, Resident} = memory(),
    Began = erlang:monotonic_time(),
    Spawn(),
    Took = erlang:monotonic_time() - Began,
    garbage_collect(Parent),
    {ProcessesThen, ResidentThen} = memory(),
    Seconds = Took / erlang:convert_time_unit(1, second, native),
    io:format(
        "{\"kind\":\"erlang ~s\",\"count\":~b,\"spawn_s\":~.6f,\"live_bytes\":~.1f,\"resident_bytes\":~.1f,\"otp\":\"~s\"}~n",
        [
            Way, Count, Seconds, (ProcessesThen - Processes) / Count, (ResidentThen - Resident) / Count,
            erlang:system_info(otp_release)
        ]
    ).

memory() -> {erlang:memory(processes), resident()}.

%% Of the whole virtual machine, in bytes; Linux alone says it.
resident() ->
    {ok, Status} = file:open("/proc/self/status", [read, raw, binary]),
    {ok, Text} = file:read(Status, 65536),
    ok = file:close(Status),
    {match, [Kilobytes]} = re:run(Text, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kilobytes) * 1024.

%% --- What is spawned -------------------------------------------------------------------------------

init(supervisor) ->
    Child = #{
        id => child, start => {gen_server, start_link, [?MODULE]}, restart => transient, type => worker
    },
    {ok, {#{strategy => simple_one_for_one, intensity => 5, period => 60}, [Child]}};
init(Number) -> {ok, Number}.

handle_call(ask, _From, Number) -> {reply, Number, Number}.

handle_cast(_, Number) -> {noreply, Number}.
