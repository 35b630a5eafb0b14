// What: everything one needs to serve HTTP: a Listener accepts into a ConnectionSet, whose ServerConnections
//   hand their requests to the Responders of a Service.
// Threads, ownership, errors: as each of these headers says.
#pragma once

#include "http/listener.h"
#include "http/server_connection.h"
#include "http/server_service.h"
#include "http/server_set.h"
